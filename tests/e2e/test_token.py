"""Recipient keys wrapped by a hardware token (SoftHSM), from end to end: both roles unwrap theirs at start, and start without it never."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.installation import certplane, installation, key_directories
from tests.e2e.key_commands import KeyCommands

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
LABEL, PIN = "certplane-test", "123456"
SHOP = "shop.example.com"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """An initialised token, known to all processes that are started from here; the options that name it."""
    assert shutil.which("softhsm2-util"), "softhsm2 is missing: run `sudo apt-get install softhsm2`"
    monkeypatch.setenv("SOFTHSM2_CONF", str(softhsm_configuration(tmp_path / "softhsm")))
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", "87654321", "--pin", PIN], check=True, capture_output=True
    )
    pin_file = tmp_path / "pin"
    pin_file.touch(0o600)
    pin_file.write_text(PIN)
    return [f"--token-module={MODULE}", f"--token-label={LABEL}", f"--token-pin-file={pin_file}"]


def softhsm_configuration(directory: Path) -> Path:
    """Makes a place for tokens, with none; returns the file that SOFTHSM2_CONF is to name."""
    (directory / "tokens").mkdir(parents=True)
    configuration = directory / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    return configuration


def run(*arguments: str) -> tuple[int, str]:
    """Runs a command to its end; returns exit status and what it says."""
    done = subprocess.run(certplane(*arguments), capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_a_handshake_with_wrapped_keys(tmp_path: Path, token: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that were made with a token serve, are rotated and serve after a restart; without the token `serve` does not start."""
    serve_keys, worker_keys = key_directories(tmp_path)
    assert (0, "the token has a new wrapping key\n") == run("keys", "prepare-token", *token)
    status, text = run("keys", "generate", f"--serve-dir={serve_keys}", f"--worker-dir={worker_keys}", *token)
    assert 0 == status, text
    private = [*serve_keys.glob("*.private.pem"), *worker_keys.glob("*.private.pem")]
    assert [1, 0] * 2 == [
        path.read_text().count(label) for path in private for label in ("BEGIN CERTPLANE WRAPPED PRIVATE KEY", "BEGIN PRIVATE KEY")
    ]
    async with installation(tmp_path, serve_options=token, worker_options=token) as made:
        domain = await made.issued(SHOP)
        page = await made.fetch(SHOP)
        assert (int(domain.serial_number, 16), "HTTP/1.1 200 OK") == (int(page.serial_number, 16), page.status_line)

        # The running process unwraps a key that was added meanwhile.
        commands = KeyCommands(made, token)
        await commands.activate(await commands.generate("leaf"))

        refused = ("serve", f"--keys-dir={serve_keys}", f"--redis-url={made.valkey.url}")
        addresses = tuple(f"--{name}-address=127.0.0.1:0" for name in ("xds", "api", "metrics"))
        status, text = run(*refused, *addresses)
        assert (1, True) == (status, "is wrapped by a hardware token: say which with --token-module" in text), text
        pin_of_another = tmp_path / "other-pin"
        pin_of_another.touch(0o600)
        pin_of_another.write_text("654321")
        status, text = run(*refused, *addresses, *token[:2], f"--token-pin-file={pin_of_another}")
        assert (1, True, False) == (status, "refuses the PIN" in text, "654321" in text), text
        with monkeypatch.context() as away:
            away.setenv("SOFTHSM2_CONF", str(softhsm_configuration(tmp_path / "nothing")))
            status, text = run(*refused, *addresses, *token)
            assert (1, True) == (status, f"the token '{LABEL}' is not found" in text), text
        assert "Traceback" not in text

        await made.serve.terminate()
        await made.start_serve()
        await made.envoy.terminate()
        await made.start_edge(made.upstream)
        page = await made.fetch(SHOP)
        assert int(domain.serial_number, 16) == int(page.serial_number, 16)
