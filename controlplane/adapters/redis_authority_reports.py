"""AuthorityReports on Redis: a string with a TTL for each CA, and a set that says which there are, so that nobody scans the store.

The set keeps CAs that are not configured any more as long as others are reported: there are only ever a few.
"""

from collections.abc import Sequence
from datetime import timedelta

import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.authority_report_codec import decode_authority_report, encode_authority_report
from controlplane.adapters.redis_client import answer, store_call
from controlplane.core.authority_report import AuthorityReport, in_order
from controlplane.core.errors import RecordRejected
from controlplane.core.ports.authority_reports import REPORT_LASTS

_log = structlog.get_logger(__name__)


class RedisAuthorityReports:
    """Implements `AuthorityReports`."""

    def __init__(self, client: Redis, lasts: timedelta = REPORT_LASTS) -> None:
        self._client = client
        self._lasts = lasts

    async def report(self, report: AuthorityReport) -> None:
        """See `AuthorityReports.report`."""
        digest = keys.authority_digest(report.directory_url)
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(keys.authority_report(digest), encode_authority_report(report), px=self._lasts)
        pipeline.sadd(keys.AUTHORITIES_REPORTED, digest)
        pipeline.pexpire(keys.AUTHORITIES_REPORTED, self._lasts)
        async with store_call():
            await pipeline.execute()

    async def live(self) -> Sequence[AuthorityReport]:
        """See `AuthorityReports.live`."""
        async with store_call():
            digests: set[bytes] = await answer(self._client.smembers(keys.AUTHORITIES_REPORTED))
            if not digests:
                return ()
            names = [keys.authority_report(digest.decode(errors="replace")) for digest in digests]
            found: list[bytes | None] = await answer(self._client.mget(names))
        reports = []
        for data in found:
            if data is None:
                continue
            try:
                reports.append(decode_authority_report(data))
            except RecordRejected as error:
                _log.error("report of a certificate authority rejected", reason=str(error))
        return in_order(reports)
