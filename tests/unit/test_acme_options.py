"""The options of the CAs: one by options, several by a file, and both again for the worker of `up`."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click
import pytest

from controlplane.cli.account import show, update_contact
from controlplane.cli.acme_options import account_authority, as_arguments, authorities_from
from controlplane.cli.up import up
from controlplane.cli.worker import worker
from controlplane.core.certificate_authorities import AuthoritySettings, ExternalAccountFile
from controlplane.core.errors import ConfigurationError
from controlplane.core.external_account import MacAlgorithm

TWO = """
preference = ["b", "a"]
[[certificate_authority]]
name = "a"
directory = "https://a.example/dir"
[[certificate_authority]]
name = "b"
directory = "https://b.example/dir"
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option comes from the environment of whoever runs the tests."""
    for name in ("CERTPLANE_ACME_DIRECTORY", "CERTPLANE_CERTIFICATE_AUTHORITIES", "CERTPLANE_ACME_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A file with two CAs."""
    path = tmp_path / "cas.toml"
    path.write_text(TWO)
    return path


@pytest.fixture
def mac(tmp_path: Path) -> Path:
    """A MAC key file."""
    path = tmp_path / "mac"
    path.write_text("c2VjcmV0")
    path.chmod(0o600)
    return path


def parsed(command: click.Command, *arguments: str) -> click.Context:
    needed: dict[str, Any] = {
        "worker": ["--keys-dir=/k", "--redis-url=redis://127.0.0.1"],
        "show": ["--keys-dir=/k", "--redis-url=redis://h"],
    }
    return command.make_context(str(command.name), [*needed.get(str(command.name), []), *arguments])


def test_without_options_it_is_lets_encrypts_staging() -> None:
    """The default is one CA, named after its host."""
    assert (AuthoritySettings("letsencrypt-staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),) == authorities_from(
        parsed(worker)
    )


def one(mac: Path) -> list[str]:
    return [
        "--acme-directory=https://ca.example/dir",
        "--acme-contact=a@example.com",
        "--acme-profile=shortlived",
        "--acme-profile=tlsserver",
        "--acme-eab-key-id=kid-1",
        f"--acme-eab-key-file={mac}",
        "--acme-eab-algorithm=HS512",
        "--ca-limits=letsencrypt",
        "--caa-identity=ca.example",
    ]


def test_one_ca_by_options(mac: Path) -> None:
    """Every option of the one CA is in its settings."""
    (read,) = authorities_from(parsed(worker, *one(mac)))
    external = ExternalAccountFile("kid-1", mac, MacAlgorithm.HS512)
    assert (("shortlived", "tlsserver"), "letsencrypt", ("ca.example",), "a@example.com", external) == (
        read.profiles,
        read.limits,
        read.caa_identities,
        read.contact,
        read.external_account,
    )


def test_several_cas_by_a_file(two: Path) -> None:
    """The file's CAs come in order of preference."""
    assert ["b", "a"] == [each.name for each in authorities_from(parsed(worker, f"--certificate-authorities={two}"))]


def test_options_of_the_one_ca_beside_a_file_are_refused(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would not count is refused, from the command line and from the environment."""
    with pytest.raises(ConfigurationError, match="--acme-directory, --ca-limits: each CA has its own"):
        authorities_from(parsed(worker, f"--certificate-authorities={two}", "--acme-directory=https://c.example/dir", "--ca-limits=pebble"))
    monkeypatch.setenv("CERTPLANE_ACME_CONTACT", "a@example.com")
    with pytest.raises(ConfigurationError, match="--acme-contact"):
        authorities_from(parsed(worker, f"--certificate-authorities={two}"))


def test_a_file_that_is_not_understood_is_named(two: Path) -> None:
    """An error says which file."""
    two.write_text("x = 1")
    with pytest.raises(ConfigurationError, match=r"cas\.toml: x is not understood"):
        authorities_from(parsed(worker, f"--certificate-authorities={two}"))


@pytest.mark.parametrize("several", [False, True])
def test_the_worker_of_up_has_the_same_cas(several: bool, two: Path, mac: Path) -> None:
    """What `up` was told about CAs and the pre-flight it tells its worker."""
    stated = [f"--certificate-authorities={two}"] if several else one(mac)
    first = parsed(up, *stated, "--dns-resolver=127.0.0.1:53", "--http01-port=5002", "--concurrency=3")
    again = parsed(worker, *as_arguments(first, (ip_network("127.0.0.0/8"),)))
    assert authorities_from(first) == authorities_from(again)
    assert ("127.0.0.1:53", 5002, 3, (ip_network("127.0.0.0/8"),)) == tuple(
        again.params[name] for name in ("dns_resolver", "http01_port", "concurrency", "preflight_allow")
    )


def test_the_account_of_one_of_several(two: Path) -> None:
    """With several CAs the command must say which; an unknown name is told with those that there are."""
    said = f"--certificate-authorities={two}"
    assert "https://a.example/dir" == account_authority(parsed(show, said, "--certificate-authority=a")).directory_url
    contact = update_contact.make_context(
        "x", ["--keys-dir=/k", "--redis-url=redis://h", said, "--certificate-authority=b", "--acme-contact=c"]
    )
    assert "https://b.example/dir" == account_authority(contact).directory_url
    for arguments, told in (([said], "say which CA is meant"), ([said, "--certificate-authority=c"], "there are b, a")):
        with pytest.raises(ConfigurationError, match=told):
            account_authority(parsed(show, *arguments))
