"""Recipient keys wrapped by a real PKCS#11 token: SoftHSM, with a token of its own for each test."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.pkcs11_token import Pkcs11Token
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import Unlock
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, Scheme, SealContext

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = SecretBytes(b"123456")
NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
LEAF = SealContext(KeyClass.LEAF, b"\x07" * 32, ("shop.example.com",))
SECRET = SecretBytes(b"a secret")

# The library reads its configuration and finds its tokens once in a process: all are made first, and each test takes its own.
LABELS = [f"token-{number}" for number in range(16)]
_unused = iter(LABELS)


@pytest.fixture(scope="module")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SoftHSM with an empty token directory."""
    assert shutil.which("softhsm2-util"), "softhsm2 is missing: run `sudo apt-get install softhsm2`"
    root = tmp_path_factory.mktemp("softhsm")
    (root / "tokens").mkdir()
    (root / "softhsm2.conf").write_text(f"directories.tokendir = {root / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(root / "softhsm2.conf")
    for label in LABELS:
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "87654321", "--pin", PIN.reveal().decode()],
            check=True,
            capture_output=True,
        )
    yield
    del os.environ["SOFTHSM2_CONF"]


@pytest.fixture
def token(softhsm: None) -> Pkcs11Token:
    """A new token with a wrapping key."""
    made = Pkcs11Token(MODULE, next(_unused), PIN, "certplane")
    made.make_key()
    return made


def installation(root: Path, unlock: Unlock) -> tuple[Path, Path]:
    """New key directories whose private keys are wrapped."""
    generate_role_directories(root / "serve", root / "worker", KeyKind(Scheme.HPKE_X25519), NOW, unlock)
    return root / "serve", root / "worker"


def test_a_wrapped_key_opens_with_its_token(tmp_path: Path, token: Pkcs11Token) -> None:
    """What is sealed to a recipient key that lies wrapped on disk opens once the token has unwrapped it."""
    serve, worker = installation(tmp_path, Unlock(provider=token))
    sealed = load_key_directory(worker, Unlock(provider=token)).sealer().seal(SECRET, LEAF)
    assert SECRET.reveal() == load_key_directory(serve, Unlock(provider=token)).opener().open(sealed, LEAF).reveal()


def test_a_stolen_disk_opens_nothing(tmp_path: Path, token: Pkcs11Token) -> None:
    """Without the token the key directory does not load, and its text has no PKCS#8 key in it."""
    serve, _ = installation(tmp_path, Unlock(provider=token))
    (path,) = serve.glob("*.private.pem")
    assert "BEGIN CERTPLANE WRAPPED PRIVATE KEY" in path.read_text()
    assert "BEGIN PRIVATE KEY" not in path.read_text()
    with pytest.raises(ConfigurationError, match="wrapped by a hardware token: say which"):
        load_key_directory(serve)


def test_another_token_does_not_unwrap(tmp_path: Path, token: Pkcs11Token, softhsm: None) -> None:
    """A key that was wrapped by one token is refused with another, and the text says so."""
    serve, _ = installation(tmp_path, Unlock(provider=token))
    other = Pkcs11Token(MODULE, next(_unused), PIN, "certplane")
    other.make_key()
    with pytest.raises(ConfigurationError, match="wrapped under another key of the token"):
        load_key_directory(serve, Unlock(provider=other))


def test_a_wrapped_key_does_not_pass_for_another(tmp_path: Path, token: Pkcs11Token) -> None:
    """A wrapped key whose file says another class does not unwrap: the class is bound."""
    serve, _ = installation(tmp_path, Unlock(provider=token))
    (path,) = serve.glob("*.private.pem")
    path.write_text(path.read_text().replace("Class: leaf", "Class: account"))
    with pytest.raises(ConfigurationError, match="is damaged"):
        load_key_directory(serve, Unlock(provider=token))


def test_the_wrapping_key_never_leaves_the_token(token: Pkcs11Token) -> None:
    """The token refuses to show the AES key."""
    import pkcs11

    with token._session() as session, pytest.raises(pkcs11.PKCS11Error):
        _ = token._key(session)[pkcs11.Attribute.VALUE]


def test_making_the_key_twice_keeps_the_first(tmp_path: Path, token: Pkcs11Token) -> None:
    """A second `make_key` makes nothing, and what was wrapped before still unwraps."""
    wrapped = token.wrap(SECRET, b"bound")
    assert not token.make_key()
    assert SECRET.reveal() == token.unwrap(wrapped, b"bound").reveal()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"token_label": "no such token"}, "is not found through"),
        ({"pin": SecretBytes(b"000000")}, "refuses the PIN"),
        ({"key_label": "no such key"}, "has no AES key"),
        ({"module": Path("/usr/lib/softhsm/none.so")}, "is not found through"),
    ],
    ids=["token", "PIN", "key", "module"],
)
def test_what_is_wrong_with_the_token_is_said(token: Pkcs11Token, change: dict[str, object], says: str) -> None:
    """A token that is not there, a wrong PIN and a missing key each have a text that says so, without the PIN."""
    parts = {"module": MODULE, "token_label": token._token_label, "pin": PIN, "key_label": "certplane", **change}
    with pytest.raises(ConfigurationError, match=says) as caught:
        Pkcs11Token(**parts).wrap(SECRET, b"")  # type: ignore[arg-type]
    assert "000000" not in str(caught.value)
