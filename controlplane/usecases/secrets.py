"""The directory of secrets: what exists for a name, who must be told when that changes, and the bytes to send.

Streams hold names first and ask then, so that no change falls between. Three things find a change: the change feed, which names what
changed; a comparison of all held names every minute, which finds what the feed may have lost; and every look-up for somebody else.
What a look-up means is for `findings`.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Never

import structlog
from prometheus_client import Counter

from controlplane.core.certificate import CertificateRecord
from controlplane.core.ports import CertificateStore, ChangeFeed, ChangeKind, ChangesLost, Clock, DomainChanged, NoCertificate, Opener
from controlplane.usecases.cache_metrics import CacheMetrics
from controlplane.usecases.change_following import ChangeFollowing
from controlplane.usecases.findings import Findings
from controlplane.usecases.generations import Generations
from controlplane.usecases.held_names import HeldNames, Holder
from controlplane.usecases.known_secrets import FieldForm, Known, KnownSecret, KnownSecrets, KnownVersion
from controlplane.usecases.lookups import PREVIOUS, RECORDS, VERSIONS, Finding, Lookups
from controlplane.usecases.lost_certificates import LostCertificates
from controlplane.usecases.rereading import Rereading
from controlplane.usecases.tls_material import TlsCertificateSerialiser
from controlplane.usecases.unknown_names import UnknownNames
from controlplane.xds.subscription import Absence

_log = structlog.get_logger(__name__)

_CHANGES_LOST = Counter("certplane_secret_changes_lost_total", "Times that changes may have been missed and all held names were compared.")

RECONCILE_SECONDS = 60.0
KEPT_SECRETS = 8192
"""At about 4.5 kB for a chain of two P-256 certificates, nearly all of it the field to be sent: 37 MB."""

KEPT_SECONDS = 10.0
KEPT_PREVIOUS = 256

_NOTHING_TOLD: Final[Mapping[str, str]] = MappingProxyType({})


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
        clock: Clock = lambda: datetime.now(UTC),
        reconcile_seconds: float = RECONCILE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        unknown: UnknownNames | None = None,
    ) -> None:
        """Makes a directory; `monotonic` returns seconds and only ever grows. `unknown`: None for a memory of the usual size."""
        self._opener = opener
        self._serialise = serialise
        self._clock = clock
        self._reconcile_seconds = reconcile_seconds
        self._generations = Generations()
        self._held = HeldNames(self._generations.let_go)
        self._kept = KnownSecrets(KEPT_SECRETS, KEPT_SECONDS, monotonic, CacheMetrics("secrets"))
        self._kept_previous = KnownSecrets(KEPT_PREVIOUS, KEPT_SECONDS, monotonic, CacheMetrics("previous_secrets"))
        self._unknown = unknown or UnknownNames(monotonic)
        self._lost = LostCertificates(monotonic)
        self._findings = Findings(self._held, self._generations, self._kept, self._unknown, self._lost)
        self._lookups = Lookups(RECORDS, certificates.servable, self._findings.take)
        self._versions = Lookups(VERSIONS, certificates.heads, self._findings.compare)
        self._previous = Lookups(PREVIOUS, certificates.previous, self._take_previous)
        self._rereading = Rereading(self._held, self._lookups, self._versions)
        self._changes = ChangeFollowing(feed, started=self._start, taken=self._take, interrupted=self._unknown.close)
        self._started = False
        self._seen_metrics, self._generation_metrics = CacheMetrics("seen_versions"), CacheMetrics("generations")

    # ---- for streams ----

    def attach(self, holder: Holder) -> None:
        """From here on `holder` is told of changes of the names that it holds, until `detach`."""
        self._held.attach(holder)

    def detach(self, holder: Holder) -> None:
        """Takes that back."""
        self._held.detach(holder)

    def hold(self, keys: Iterable[str], resumed: Iterable[str] = ()) -> None:
        """Notes that somebody holds these canonical names, once each, until they are released as often.

        Of those among them that are `resumed`, the holder has a version from an earlier stream.
        """
        self._held.hold(keys, resumed)

    def release(self, keys: Iterable[str]) -> None:
        """Takes that back."""
        self._held.release(keys)

    def recall(self, keys: Iterable[str], told: Mapping[str, str] = _NOTHING_TOLD) -> tuple[dict[str, Known], list[str]]:
        """Returns what is known of canonical names at once, without waiting, and the names that must be looked up.

        `told`: see `resolve`.
        """
        keys = keys if isinstance(keys, Sequence) else tuple(keys)
        kept = self._kept.find(keys)
        known: dict[str, Known] = {**kept}
        for key in self._held.unresolved(kept):
            self._held.see(key, KnownVersion(kept[key].version, kept[key].tenant), retry=False)
        missing = list(dict.fromkeys([key for key in keys if key not in known] if kept else keys)) if len(kept) < len(keys) else []
        if told and missing:
            known |= self._current(missing, told)
            missing = [key for key in missing if key not in known]
        if missing and (absent := self._unknown.find(missing)):
            for key, absence in absent.items():
                # Of a name that somebody may have a certificate for, a miss is more than a miss: see `findings`.
                if not self._held.may_be_served(key):
                    self._held.see(key, absence, retry=False)
                    known[key] = absence
            missing = [key for key in missing if key not in known]
        return known, missing

    async def resolve(self, keys: Iterable[str], told: Mapping[str, str] = _NOTHING_TOLD) -> Mapping[str, Known]:
        """Returns the secret behind each canonical name, or why there is none.

        Names are absent while the store does not answer: they are neither known nor unknown, ask again later. Takes a few seconds at
        most. Nothing is opened yet.

        `told` maps canonical names to the version that their holder has. While that is the version in force, the answer may be a
        `KnownVersion`: to find that out takes no record. Leave out names that must be sent whatever their holder has.
        """
        known, missing = self.recall(keys, told)
        if told and missing:
            versions = await self._versions.ask([key for key in missing if key in told], wanted=True)
            known |= {key: version for key, version in versions.items() if version is not None and version.version == told[key]}
            # Names that the store did not answer for are left out: it would not answer for their records either.
            missing = [key for key in missing if key not in known and (key in versions or key not in told)]
            # Somebody else may have learnt meanwhile what differs here: its key is to be opened once for all.
            known |= self._kept.find(missing)
            missing = [key for key in missing if key not in known]
        if missing:
            known |= await self._lookups.ask(missing, wanted=True)
        return known

    async def resolve_previous(self, keys: Iterable[str]) -> Mapping[str, Known]:
        """Returns the certificate before the one in force behind each canonical name, `GONE` unless it is valid and its key opens.

        It is for a client that refused the one in force. Names are absent while the store does not answer.
        """
        keys = dict.fromkeys(keys)
        known: dict[str, Known] = dict(self._kept_previous.find(keys))
        missing = [key for key in keys if key not in known]
        if missing:
            known |= await self._previous.ask(missing, wanted=True)
        for key, secret in known.items():
            if isinstance(secret, KnownSecret) and not secret.open(self._opener, self._serialise):
                known[key] = Absence.GONE
        return known

    def fields(self, form: FieldForm, names: Sequence[bytes], secrets: Sequence[KnownSecret | KnownVersion]) -> Sequence[bytes | None]:
        """Returns the serialised `resources` field for each spelled name of a secret.

        None when the leaf key does not open or does not fit: treat it as `UNCERTAIN`. Opens the leaf key, the first time, and makes the
        field of the canonical spelling once for each `form`, which must be the same object every time.

        A `KnownVersion` has nothing to send: None, and holders are told of the name again, so that they ask anew with what they have then.
        """
        made = [
            secret.ready if name == secret.spelling and secret.form is form else None for name, secret in zip(names, secrets, strict=True)
        ]
        if not all(made):
            for place, ready in enumerate(made):
                if ready is None:
                    made[place] = self._make_field(form, names[place], secrets[place])
        return made

    def _make_field(self, form: FieldForm, name: bytes, secret: KnownSecret | KnownVersion) -> bytes | None:
        if isinstance(secret, KnownVersion):
            asyncio.get_running_loop().call_soon(self._held.notify, (name.decode("ascii", "replace").lower(),))
            return None
        if secret.open(self._opener, self._serialise):
            return secret.field(form, name)
        self._held.mark_unservable(secret.key, secret.version)
        return None

    def _current(self, keys: Sequence[str], told: Mapping[str, str]) -> Mapping[str, Known]:
        """Returns what holders are told of anyway when it changes: names whose version in force was seen, if that is what was `told`.

        Without a change feed to say so nothing is certain, nor for a name that waits to be read again.
        """
        if not self._started:
            return {}
        current = self._held.current_among(keys, told)
        if len(self._rereading):
            current = {key: version for key, version in current.items() if key not in self._rereading}
        self._seen_metrics.asked(len(keys), len(current))
        return current

    # ---- changes ----

    async def run(self) -> Never:
        """Carries out look-ups and follows changes, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lookups in (self._lookups, self._versions, self._previous):
                lookups.open()
            try:
                tasks.create_task(self._changes.run())
                tasks.create_task(self._rereading.run())
                tasks.create_task(self._purge())
                await self._rereading.reconcile(self._reconcile_seconds)
            finally:
                for lookups in (self._lookups, self._versions, self._previous):
                    lookups.close()
        raise AssertionError("unreachable")

    async def following(self) -> None:
        """Returns once the change feed is being followed."""
        await self._changes.following()

    def _start(self) -> None:
        """Takes note that changes are followed from a position on: what was read before it may be older."""
        self._unknown.open()
        if not self._started:
            self._started = True
            self._doubt_all()

    def _take(self, change: DomainChanged | ChangesLost) -> None:
        if isinstance(change, ChangesLost):
            _CHANGES_LOST.inc()
            _log.warning("changes may have been missed, comparing all held names")
            self._doubt_all()
            return
        names = (change.fqdn, *change.names)
        if change.kind is ChangeKind.DELETED:
            self._generations.forget(change.fqdn)
            self._held.note_deleted(names)
        for key in names:
            self._kept.drop(key)
            self._kept_previous.drop(key)
        self._unknown.drop(names)
        for lookups in (self._lookups, self._versions, self._previous):
            lookups.supersede(names)
        self._rereading.suspect(names)

    def _doubt_all(self) -> None:
        """Forgets what is known of all names, and has the held ones compared."""
        for kept in (self._kept, self._kept_previous, self._unknown):
            kept.clear()
        for lookups in (self._lookups, self._versions, self._previous):
            lookups.supersede()
        self._rereading.doubt_all()

    def _take_previous(self, findings: Iterable[Finding[CertificateRecord | NoCertificate]]) -> Mapping[str, Known]:
        now = self._clock()
        known: dict[str, Known] = {}
        for finding in findings:
            record = finding.found
            if isinstance(record, CertificateRecord) and record.is_valid_at(now):
                known[finding.key] = secret = KnownSecret(finding.key, record)
                self._kept_previous.put(secret)
            else:
                known[finding.key] = Absence.GONE
        return known

    async def _purge(self) -> Never:
        while True:
            await asyncio.sleep(KEPT_SECONDS / 4)
            for kept in (self._kept, self._kept_previous, self._unknown):
                kept.purge()
            self._seen_metrics.size(len(self._held))
            self._generation_metrics.size(len(self._generations))
            self._lost.tell()
