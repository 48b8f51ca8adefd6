"""The connection to Redis or Valkey, its scripts, and the one place where its errors become ours."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - the library's own, deliberately
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from controlplane.core.errors import ConfigurationError, RecordRejected, Unavailable

CHANGE_STREAM_LENGTH = 4096
"""Entries that a shard's change stream keeps, about; a reader that falls further behind reads everything again."""

CALL_SECONDS = 5.0
"""For one command or pipeline."""

_SCANNED = 2000
"""Keys that the store looks at for one answer of SCAN: well under a millisecond, in which it does nothing else."""

OnConnect = Callable[[AbstractConnection], Awaitable[None]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(time: datetime) -> int:
    """Returns a time as whole milliseconds since 1970, the unit of every score in the store."""
    return (time - _EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: float) -> datetime:
    """Returns the time of a score; what no clock shows becomes the earliest or latest time that one does."""
    return _EPOCH + timedelta(milliseconds=min(max(value, 0.0), 2**47))


def connect(url: str, *, retries: int = 2, connections: int = 64, ca_file: str | None = None, on_connect: OnConnect | None = None) -> Redis:
    """Returns a client for `redis://`, `rediss://` or `unix://`. It connects at its first command.

    Args:
        url: Where the store is; a password may be in it, so it is never logged.
        retries: How often a command is repeated after a broken connection.
        ca_file: A CA bundle for `rediss://`.
        connections: How many at most; further calls wait for one.
        on_connect: Called for every new connection in place of its own `on_connect`, which it must call.

    Raises:
        ConfigurationError: `url` cannot be understood.
    """
    options: dict[str, Any] = {
        "protocol": 2,
        # With a socket_timeout the library waits by asyncio.wait_for, which swallows a cancellation on Python 3.11 when the reply is just
        # there. `store_call` keeps the time instead.
        "socket_timeout": None,
        "socket_connect_timeout": CALL_SECONDS,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02) if retries else NoBackoff(), retries),
    }
    if on_connect is not None:
        options["redis_connect_func"] = on_connect
    if ca_file and url.startswith("rediss://"):
        options["ssl_ca_certs"] = ca_file
    try:
        # Callers wait for a connection: the library's usual pool refuses the one after the last.
        pool = BlockingConnectionPool.from_url(url, max_connections=connections, timeout=CALL_SECONDS, **options)
        return Redis.from_pool(pool)
    except ValueError as error:
        raise ConfigurationError(f"--redis-url: {error}") from None


@asynccontextmanager
async def store_call(seconds: float = CALL_SECONDS) -> AsyncIterator[None]:
    """Gives commands to the store a deadline, and turns the library's errors into `Unavailable`.

    Raises:
        Unavailable: the store does not answer in time, is loading, full, or read-only after a failover.
        RecordRejected: a key has the wrong type: somebody else writes to this store.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except AuthenticationError as error:
        raise Unavailable("the store refuses the password of --redis-url", retry_after=5.0) from error
    except (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError) as error:
        raise Unavailable(f"the store does not answer ({type(error).__name__})") from error
    except ResponseError as error:
        if "WRONGTYPE" in str(error):
            raise RecordRejected("a key of the store has another type than it should") from error
        raise Unavailable(f"the store refused a command ({str(error)[:200]})") from error
    except RedisError as error:
        raise Unavailable(f"the store refused a command ({type(error).__name__}: {str(error)[:200]})") from error


class Script:
    """A Lua script of `lua/`, sent whole only when the server does not know it yet. Of several names the first ones hold its functions."""

    def __init__(self, client: Redis, *names: str) -> None:
        self._client = client
        self._text = "".join(map(_script_text, names))
        self._script = client.register_script(self._text)

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | bytes | int]) -> Any:
        """Runs the script.

        Raises:
            Unavailable: the store does not answer.
        """
        async with store_call():
            try:
                return await answer(self._client.evalsha(self._script.sha, len(keys), *keys, *cast("list[str]", arguments)))
            except NoScriptError:
                return await answer(self._client.eval(self._text, len(keys), *keys, *cast("list[str]", arguments)))


async def keys_like(client: Redis, pattern: str) -> Sequence[bytes]:
    """Returns the keys that match a glob-style pattern, by SCAN over the whole store: a second or two for a million domains.

    Raises:
        Unavailable: the store does not answer.
    """
    found: dict[bytes, None] = {}
    cursor = 0
    while True:
        async with store_call():
            cursor, some = await answer(client.scan(cursor, match=pattern, count=_SCANNED))
        # One key may be told twice.
        found.update(dict.fromkeys(some))
        if not cursor:
            return tuple(found)


@cache
def _script_text(name: str) -> str:
    return (resources.files("controlplane.adapters") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


async def answer(pending: Awaitable[Any] | Any) -> Any:
    """Awaits a command; the library's annotations say `Awaitable | value` for many."""
    return await cast("Awaitable[Any]", pending)
