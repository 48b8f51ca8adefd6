"""What stands around a directory of secrets in tests: a stream that holds names, the form of its answers, and a clock."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from controlplane.core.redacted import SecretBytes
from controlplane.usecases.known_secrets import Known, KnownSecret, KnownVersion
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Absence

SEPARATOR = b"\n|\n"


def serialise(certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
    """A TlsCertificate: chain and key side by side."""
    return SecretBytes(certificate_chain + SEPARATOR + private_key.reveal())


def form(name: bytes, version: str, content: SecretBytes) -> bytes:
    """A field: the content with name and version before it."""
    return b"%b@%b:%b" % (name, version.encode(), content.reveal())


class Stream:
    """Holds names of a directory, and remembers what it was told of."""

    def __init__(self, directory: SecretDirectory) -> None:
        self.told: list[str] = []
        self.names: set[str] = set()
        self._directory = directory
        directory.attach(self)

    def holds(self, key: str) -> bool:
        """Whether it holds a name."""
        return key in self.names

    def changed(self, keys: Iterable[str]) -> None:
        """Notes the names."""
        self.told += keys

    def hold(self, *keys: str, resumed: Iterable[str] = ()) -> None:
        """Holds names; those `resumed` with a version from an earlier stream."""
        self.names.update(keys)
        self._directory.hold(keys, resumed)

    def release(self, *keys: str) -> None:
        """Holds names no more."""
        self.names.difference_update(keys)
        self._directory.release(keys)

    def end(self) -> None:
        """Ends as a stream does."""
        self.release(*self.names)
        self._directory.detach(self)


class Time:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds now."""
        return self.seconds


@asynccontextmanager
async def running(directory: SecretDirectory) -> AsyncIterator[SecretDirectory]:
    """Runs a directory, from when it follows changes on."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(directory.run())
        await directory.following()
        yield directory
        task.cancel()


async def known(directory: SecretDirectory, key: str) -> Known:
    """What is known of one name, after a look-up."""
    return (await directory.resolve([key]))[key]


def versions(found: dict[str, Known]) -> dict[str, str | Absence]:
    """What is known of names, with versions for secrets."""
    return {key: each.version if isinstance(each, KnownSecret | KnownVersion) else each for key, each in found.items()}


def sent(directory: SecretDirectory, name: bytes, secret: Known) -> bytes | None:
    """The field for a spelled name of what is known."""
    assert not isinstance(secret, Absence)
    return directory.fields(form, [name], [secret])[0]


async def field(directory: SecretDirectory, key: str) -> bytes | None:
    """The field for the canonical spelling of a name, after a look-up."""
    secret = await known(directory, key)
    return sent(directory, key.encode(), secret)


async def settled(directory: SecretDirectory) -> None:
    """Returns when the directory has read everything that it wanted to read again."""
    async with asyncio.timeout(10):
        while len(directory._rereading) or len(directory._lookups) or len(directory._versions):
            await asyncio.sleep(0.005)
