"""The directory of secrets: what exists for a name, who holds it, and who must be told when that changes.

Streams hold names first and ask then, so that no change falls between. Three things find a change: the change feed, which names what
changed; a comparison of all held names every minute, which finds what the feed may have lost; and every look-up for somebody else.

Only a deletion takes a certificate away from who holds it. A record that cannot be read, is older than one seen before, or is suddenly
missing is `UNCERTAIN`: holders keep what they have, operators are told, and the next comparison tries again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Never

import structlog
from prometheus_client import Counter

from controlplane.core.certificate import CertificateRecord
from controlplane.core.ports import CertificateStore, ChangeFeed, ChangeKind, ChangesLost, DomainChanged, NoCertificate, Opener
from controlplane.usecases.generations import Generations
from controlplane.usecases.held_names import HeldNames, Holder, Seen
from controlplane.usecases.known_secrets import Known, KnownSecret, KnownSecrets
from controlplane.usecases.lookups import Finding, Lookups
from controlplane.usecases.lost_certificates import Loss, LostCertificates
from controlplane.usecases.retry_delays import RetryDelays
from controlplane.usecases.tls_material import TlsCertificateSerialiser
from controlplane.xds.subscription import Absence

_log = structlog.get_logger(__name__)

_CHANGES_LOST = Counter(
    "certplane_secret_changes_lost_total", "Times that changes may have been missed and all held names were read again."
)

_KINDS = frozenset({ChangeKind.CERTIFICATE, ChangeKind.DELETED})
"""What changes what is served."""

RECONCILE_SECONDS = 60.0
KEPT_SECRETS = 1024
KEPT_SECONDS = 10.0
_NAMES_PER_STEP = 256
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0


class SecretDirectory:
    """Secrets by canonical name. `run` must be running: before and after, nothing is answered.

    All methods are called on one event loop.
    """

    def __init__(
        self,
        certificates: CertificateStore,
        opener: Opener,
        feed: ChangeFeed,
        serialise: TlsCertificateSerialiser,
        *,
        reconcile_seconds: float = RECONCILE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes a directory; `monotonic` returns seconds and only ever grows."""
        self._opener = opener
        self._feed = feed
        self._serialise = serialise
        self._reconcile_seconds = reconcile_seconds
        self._held = HeldNames()
        self._generations = Generations()
        self._lost = LostCertificates(monotonic)
        self._kept = KnownSecrets(KEPT_SECRETS, KEPT_SECONDS, monotonic)
        self._lookups = Lookups(certificates, self._receive)
        self._suspect: dict[str, None] = {}
        self._suspected = asyncio.Event()
        self._following = asyncio.Event()

    # ---- for streams ----

    def hold(self, key: str, holder: Holder, *, has_version: bool = False) -> None:
        """Notes that `holder` is to be told of changes of a canonical name, until `release`.

        `has_version`: it has a version of it from an earlier stream.
        """
        self._held.hold(key, holder, has_version=has_version)

    def release(self, key: str, holder: Holder) -> None:
        """Takes that back."""
        self._held.release(key, holder)

    async def resolve(self, keys: Iterable[str]) -> Mapping[str, Known]:
        """Returns the secret behind each canonical name, or why there is none.

        Names are absent while the store does not answer: they are neither known nor unknown, ask again later. Takes a few seconds at
        most. Nothing is opened yet.
        """
        known: dict[str, Known] = {}
        missing = []
        for key in dict.fromkeys(keys):
            kept = self._kept.get(key)
            if kept is None:
                missing.append(key)
            else:
                known[key] = kept
        if missing:
            known |= await self._lookups.ask(missing, wanted=True)
        return known

    def content(self, secret: KnownSecret) -> bytes | None:
        """Returns the serialised TlsCertificate, or None when the leaf key does not open or does not fit: treat it as `UNCERTAIN`.

        Opens the leaf key, the first time.
        """
        content = secret.content(self._opener, self._serialise)
        if content is None:
            self._held.mark_unservable(secret.key, secret.version)
            return None
        return content.reveal()

    # ---- changes ----

    async def run(self) -> Never:
        """Carries out look-ups and follows changes, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._lookups.open(tasks)
            try:
                tasks.create_task(self._follow())
                tasks.create_task(self._reread_suspects())
                tasks.create_task(self._purge())
                await self._reconcile()
            finally:
                self._lookups.close()
        raise AssertionError("unreachable")

    async def following(self) -> None:
        """Returns once the change feed is being followed."""
        await self._following.wait()

    def _receive(self, findings: Sequence[Finding]) -> Mapping[str, Known]:
        """Takes an answer of the store: remembers what was seen, keeps what will be served, and tells holders what changed."""
        known: dict[str, Known] = {}
        changed = []
        for finding in findings:
            key, found = finding.key, self._judge(finding)
            judged = Absence.UNCERTAIN if isinstance(found, Loss) else found
            seen = self._held.see(key, judged, retry=not finding.wanted)
            if seen is Seen.CHANGED:
                changed.append(key)
            if isinstance(judged, Absence):
                known[key] = judged
                if judged is Absence.GONE:
                    self._kept.drop(key)
            else:
                known[key] = secret = KnownSecret(key, judged)
                if finding.wanted or seen is Seen.CHANGED:
                    self._kept.put(secret)
            if isinstance(found, Loss) and (seen is Seen.KEPT or found is Loss.OLDER):
                self._lost.note(found, key)
        self._lost.tell()
        self._held.notify(changed)
        return known

    def _judge(self, finding: Finding) -> CertificateRecord | Absence | Loss:
        """Returns the certificate to serve, or `GONE`, or why nothing is certain."""
        key, found = finding.key, finding.found
        if isinstance(found, CertificateRecord):
            generation = self._generations.of(found.fqdn)
            if not generation.see(found.generation):
                return Loss.OLDER
            self._held.keep(key, generation)
            return found
        if found is NoCertificate.DELETED:
            self._generations.forget(key)
            return Absence.GONE
        if found is NoCertificate.REJECTED:
            return Loss.REJECTED
        return Absence.GONE if self._held.is_deleted(key) else Loss.MISSING

    def _doubt(self, keys: Iterable[str]) -> None:
        """Forgets what is known of names that may have changed, and has the held ones read again."""
        keys = tuple(keys)
        for key in keys:
            self._kept.drop(key)
            if key in self._held:
                self._suspect[key] = None
        self._lookups.supersede(keys)
        self._suspected.set()

    async def _follow(self) -> Never:
        position = await self._first_position()
        self._doubt(self._held.keys())
        delays = RetryDelays(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        while True:
            try:
                self._following.set()
                async for change in self._feed.follow(position, kinds=_KINDS):
                    position = change.position
                    delays.reset()
                    self._take(change)
                _log.error("change feed ended")
            except Exception:
                _log.exception("change feed failed")
            await asyncio.sleep(delays.next())

    async def _first_position(self) -> str:
        delays = RetryDelays(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        while True:
            try:
                return await self._feed.position()
            except Exception as error:
                _log.warning("change feed cannot be followed yet", reason=type(error).__name__)
            await asyncio.sleep(delays.next())

    def _take(self, change: DomainChanged | ChangesLost) -> None:
        if isinstance(change, ChangesLost):
            _CHANGES_LOST.inc()
            _log.warning("changes may have been missed, reading all held names again")
            self._kept.clear()
            self._lookups.supersede()
            self._doubt(self._held.keys())
        else:
            names = (change.fqdn, *change.names)
            if change.kind is ChangeKind.DELETED:
                self._generations.forget(change.fqdn)
                self._held.note_deleted(names)
            self._doubt(names)

    async def _reread_suspects(self) -> Never:
        delays = RetryDelays(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        while True:
            await self._suspected.wait()
            step = list(islice(self._suspect, _NAMES_PER_STEP))
            for key in step:
                del self._suspect[key]
            keys = [key for key in step if key in self._held]
            known = await self._lookups.ask(keys, wanted=False)
            away = [key for key in keys if key not in known]
            self._suspect.update(dict.fromkeys(away))
            if not self._suspect:
                self._suspected.clear()
            if away:
                await asyncio.sleep(delays.next())
            else:
                delays.reset()

    async def _reconcile(self) -> Never:
        while True:
            await asyncio.sleep(self._reconcile_seconds)
            keys = self._held.keys()
            for start in range(0, len(keys), _NAMES_PER_STEP):
                step = [key for key in keys[start : start + _NAMES_PER_STEP] if key in self._held]
                await self._lookups.ask(step, wanted=False)

    async def _purge(self) -> Never:
        while True:
            await asyncio.sleep(KEPT_SECONDS / 4)
            self._kept.purge()
            self._lost.tell()
