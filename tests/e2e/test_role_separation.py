"""Each role refuses to start with the other's private keys, and with an exposed plaintext listener."""

import subprocess
from pathlib import Path

import pytest

from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.core.sealing import Scheme
from tests.e2e.installation import certplane
from tests.fakes import samples


def refused(*arguments: str) -> str:
    """Runs a command that must fail, and returns what it says on standard error."""
    result = subprocess.run(certplane(*arguments), capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Key directories of serve and worker."""
    serve, worker = tmp_path / "serve", tmp_path / "worker"
    generate_role_directories(serve, worker, KeyKind(Scheme.HPKE_X25519), samples.now())
    return serve, worker


def test_serve_refuses_the_workers_keys(directories: tuple[Path, Path]) -> None:
    """`serve` never holds a private account key."""
    assert "private `account` key" in refused("serve", f"--keys-dir={directories[1]}", "--redis-url=redis://127.0.0.1:1")


def test_worker_refuses_the_keys_of_serve(directories: tuple[Path, Path]) -> None:
    """`worker` never holds a private leaf key."""
    assert "private `leaf` key" in refused("worker", f"--keys-dir={directories[0]}", "--redis-url=redis://127.0.0.1:1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--redis-url=redis://127.0.0.1:1", "--xds-address=0.0.0.0:0"], "certplane pki init"),
        (["--redis-url=redis://127.0.0.1:1", "--api-address=[::]:0"], "certplane pki init"),
        (["--redis-url=redis://127.0.0.1:1", "--metrics-address=0.0.0.0:0"], "--metrics-insecure"),
        (["--redis-url=redis://redis.example.com"], "--redis-insecure"),
        (["--redis-url=redis://127.0.0.1:1", "--tls-cert=/dev/null"], "--tls-client-ca"),
    ],
    ids=["xds", "api", "metrics", "redis", "incomplete-tls"],
)
def test_exposed_plaintext_is_refused(directories: tuple[Path, Path], arguments: list[str], said: str) -> None:
    """A listener or a store beyond this machine without TLS stops the start, with what to do about it."""
    assert said in refused("serve", f"--keys-dir={directories[0]}", *arguments)
