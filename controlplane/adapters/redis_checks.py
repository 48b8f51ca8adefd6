"""CheckStore on Redis: one slot, a bounded sorted set of what waits, and a hash with a TTL for each check.

All ages are measured by the store's own clock. A result is bound to the run that it belongs to: an older one cannot be put in its place.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.check_codec import decode_request, decode_result, encode_request, encode_result
from controlplane.adapters.redis_client import Script, store_call
from controlplane.core.errors import RecordRejected, ResourceExhausted
from controlplane.core.ports import RecordAuthenticator
from controlplane.core.ports.checks import CheckLimits, CheckPhase, CheckProgress, CheckRequest, CheckResult, TakenCheck

_REQUEST, _RESULT = "check", "check-result"
_USUAL_LIMITS = CheckLimits()
_RETRY_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class RedisCheckStore:
    """Implements `CheckStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator, limits: CheckLimits = _USUAL_LIMITS) -> None:
        self._client = client
        self._authenticator = authenticator
        self._limits = limits
        self._ask = Script(client, "ask_check")
        self._take = Script(client, "take_checks")
        self._finish = Script(client, "finish_check")

    async def ask(self, request: CheckRequest) -> None:
        """See `CheckStore.ask`."""
        limits = self._limits
        data = self._authenticator.wrap(_REQUEST, request.id, encode_request(request))
        asked = await self._ask(
            [keys.CHECKS_WAITING, keys.CHECK_PREFIX + request.id],
            [
                request.id,
                data,
                secrets.token_hex(8),
                limits.waiting,
                *(_milliseconds(age) for age in (limits.lifetime, limits.fresh, limits.running)),
            ],
        )
        if not asked:
            raise ResourceExhausted(f"{limits.waiting} checks wait for a worker; try again later", _RETRY_SECONDS)

    async def progress(self, request: CheckRequest) -> CheckProgress | None:
        """See `CheckStore.progress`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hmget(keys.CHECK_PREFIX + request.id, ["run", "taken", "result"])
        pipeline.exists(keys.CHECK_RUNNER)
        async with store_call():
            (run, taken, result), workers = await pipeline.execute()
        if run is None:
            return None
        if result is None:
            return CheckProgress(CheckPhase.WAITING if taken is None else CheckPhase.RUNNING, bool(workers))
        payload = self._authenticator.unwrap(_RESULT, _run_key(request, run.decode("ascii", "replace")), result)
        return CheckProgress(CheckPhase.DONE, bool(workers), decode_result(payload))

    async def take(self, limit: int) -> Sequence[TakenCheck]:
        """See `CheckStore.take`."""
        found: list[Any] = await self._take(
            [keys.CHECKS_WAITING, keys.CHECK_RUNNER],
            [limit, _milliseconds(self._limits.lifetime), _milliseconds(self._limits.heard), keys.CHECK_PREFIX],
        )
        taken: list[TakenCheck] = []
        for id_, run, data in zip(found[::3], found[1::3], found[2::3], strict=True):
            try:
                request = decode_request(self._authenticator.unwrap(_REQUEST, id_.decode("ascii", "replace"), data))
            except RecordRejected as error:
                _log.error("check rejected", reason=str(error))
                continue
            taken.append(TakenCheck(request, run.decode("ascii", "replace")))
        return taken

    async def finish(self, taken: TakenCheck, result: CheckResult) -> None:
        """See `CheckStore.finish`."""
        data = self._authenticator.wrap(_RESULT, _run_key(taken.request, taken.run), encode_result(result))
        await self._finish([keys.CHECK_PREFIX + taken.request.id], [taken.run, data, _milliseconds(self._limits.lifetime)])


def _run_key(request: CheckRequest, run: str) -> str:
    return f"{request.id}/{run}"


def _milliseconds(age: timedelta) -> int:
    return age // timedelta(milliseconds=1)
