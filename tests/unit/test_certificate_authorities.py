"""The list of CAs, parsed."""

from pathlib import Path

import pytest

from controlplane.core.certificate_authorities import (
    AuthoritySettings,
    ExternalAccountFile,
    authority_name,
    parse_authorities,
    single_authority,
)
from controlplane.core.errors import ConfigurationError
from controlplane.core.external_account import MacAlgorithm

BASE = Path("/etc/certplane")
A = '[[certificate_authority]]\nname = "a"\ndirectory = "https://a.example/dir"\n'
B = '[[certificate_authority]]\nname = "b"\ndirectory = "https://b.example/dir"\n'


def parse(text: str) -> tuple[AuthoritySettings, ...]:
    return parse_authorities(text, "cas.toml", BASE)


def test_everything_is_read() -> None:
    """Every key of a table is read, and files are looked for beside the TOML file."""
    (read,) = parse(
        A
        + """
        limits = "limits/a.toml"
        profiles = ["shortlived", "tlsserver"]
        contact = "operations@example.com"
        ca_bundle = "roots.pem"
        caa_identities = ["a.example"]
        eab_key_id = "kid-1"
        eab_key_file = "/run/secrets/mac"
        eab_algorithm = "HS384"
        tenants = ["acme", "shop-*"]
        """
    )
    assert (
        AuthoritySettings(
            "a",
            "https://a.example/dir",
            limits="/etc/certplane/limits/a.toml",
            profiles=("shortlived", "tlsserver"),
            contact="operations@example.com",
            ca_bundle=BASE / "roots.pem",
            caa_identities=("a.example",),
            external_account=ExternalAccountFile("kid-1", Path("/run/secrets/mac"), MacAlgorithm.HS384),
            tenants=("acme", "shop-*"),
        )
        == read
    )
    assert [True, True, False] == [read.serves(tenant) for tenant in ("acme", "shop-1", "")]


def test_little_is_needed() -> None:
    """A name and a directory are enough: for everybody, by the profile of the host, without an external account."""
    assert (AuthoritySettings("a", "https://a.example/dir"),) == parse(A)
    assert parse(A)[0].serves("anybody")


@pytest.mark.parametrize(
    ("text", "names"),
    [(A + B, ["a", "b"]), ('preference = ["b", "a"]\n' + A + B, ["b", "a"]), ('preference = ["a"]\n' + A, ["a"])],
)
def test_the_order_is_the_files_or_the_stated(text: str, names: list[str]) -> None:
    """The list is in order of preference."""
    assert names == [each.name for each in parse(text)]


def test_limits_are_a_name_or_a_file() -> None:
    """What has a slash or ends in .toml is a file, the rest is a profile's name."""
    found = [parse(A + f'limits = "{limits}"\n')[0].limits for limits in ("letsencrypt", "own.toml", "/x/own")]
    assert ["letsencrypt", "/etc/certplane/own.toml", "/x/own"] == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "certificate_authority is not a list"),
        ("certificate_authority = 1", "certificate_authority is not a list"),
        ("[[certificate_authority]", "is not TOML"),
        ("certificate_authority = [1]", "certificate_authority[0] is not a table"),
        ("colour = 1\n" + A, "colour is not understood"),
        (A + "colour = 1", "certificate_authority[0].colour is not understood"),
        (A + '[[certificate_authority]]\nname = "b"', "certificate_authority[1].directory: it must be given"),
        ('[[certificate_authority]]\ndirectory = "https://a.example/dir"', "certificate_authority[0].name: it must be given"),
        (A.replace('"a"', '"A"'), "certificate_authority[0].name: 'A' has other than"),
        (A.replace('"a"', "1"), "certificate_authority[0].name: it is not a text"),
        (A.replace("https", "http"), "certificate_authority[0].directory: 'http://a.example/dir' is not an https:// URL"),
        (A.replace("https://a.example/dir", "a.example"), "certificate_authority[0].directory: 'a.example' is not an https:// URL"),
        (A.replace("https://a.example/dir", "https://[x"), "certificate_authority[0].directory"),
        (A + B.replace('"b"', '"a"'), "certificate_authority[1].name: another CA has 'a' already"),
        (A + B.replace("b.example", "a.example"), "certificate_authority[1].directory: another CA has"),
        (A + 'tenants = "acme"', "certificate_authority[0].tenants: it is not a list of texts"),
        (A + 'profiles = [""]', "certificate_authority[0].profiles: it is not a list of texts"),
        (A + 'eab_key_id = "k"', "certificate_authority[0].eab_key_file: eab_key_id and eab_key_file are given together"),
        (A + 'eab_key_file = "f"', "certificate_authority[0].eab_key_id: eab_key_id and eab_key_file are given together"),
        (A + 'eab_algorithm = "HS256"', "certificate_authority[0].eab_algorithm: there is neither"),
        (
            A + 'eab_key_id = "k"\neab_key_file = "f"\neab_algorithm = "none"',
            "certificate_authority[0].eab_algorithm: 'none' is none of",
        ),
        ('preference = "a"\n' + A, "preference is not a list of names"),
        ('preference = ["c"]\n' + A + B, "preference[0]: 'c' is not the name of a CA; there are a, b"),
        ('preference = ["a"]\n' + A + B, "preference must name every CA once: a, b"),
        ('preference = ["a", "a", "b"]\n' + A + B, "preference must name every CA once: a, b"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(text: str, told: str) -> None:
    """Every mistake names the file, the path of the key, and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert str(caught.value).startswith("cas.toml")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "letsencrypt"),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", "letsencrypt-staging"),
        ("https://127.0.0.1:14000/dir", "127.0.0.1"),
        ("https://[::1]:14000/dir", "ca"),
        ("https://ACME.example.com/dir", "acme.example.com"),
    ],
)
def test_a_single_ca_is_named_after_its_host(directory: str, name: str) -> None:
    """The name follows from the directory, and is one that a file may give too."""
    assert (name, name) == (authority_name(directory), single_authority(directory).name)


@pytest.mark.parametrize("half", [{"eab_key_id": "kid"}, {"eab_key_file": Path("mac")}])
def test_half_an_external_account_is_refused(half: dict) -> None:
    """The key identifier and the file go together."""
    with pytest.raises(ConfigurationError, match="given together"):
        single_authority("https://a.example/dir", **half)


def test_a_single_ca_over_a_network_needs_tls() -> None:
    """A directory without TLS is for this machine only."""
    assert "http://127.0.0.1:1/dir" == single_authority("http://127.0.0.1:1/dir").directory_url
    with pytest.raises(ConfigurationError, match="--acme-directory"):
        single_authority("http://ca.example/dir")
