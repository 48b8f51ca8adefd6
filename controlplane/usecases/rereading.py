"""Reads held names again: those of which something said that they changed, and once a minute all, which finds what nothing said."""

import asyncio
from collections.abc import Iterable
from itertools import islice
from typing import Never

from controlplane.core.certificate import CertificateHead, ServableCertificate
from controlplane.core.ports import NoCertificate
from controlplane.usecases.held_names import HeldNames
from controlplane.usecases.known_secrets import Known, KnownVersion
from controlplane.usecases.lookups import Lookups
from controlplane.usecases.retry_delays import RetryDelays

RecordLookups = Lookups[ServableCertificate | NoCertificate, Known]
VersionLookups = Lookups[CertificateHead | None, KnownVersion | None]

_NAMES_PER_STEP = 256
FIRST_RETRY_SECONDS = 0.1
LONGEST_RETRY_SECONDS = 5.0


class Rereading:
    """Names that wait to be read again. Those that changed go first, and are read in full.

    The others are compared by their versions, and read in full only if they differ: ten thousand names cost some hundredths of a second.
    A name that the store did not answer for goes back to those that wait, so that no change is forgotten while the store is away.
    """

    def __init__(self, held: HeldNames, records: RecordLookups, versions: VersionLookups) -> None:
        self._held = held
        self._records = records
        self._versions = versions
        self._suspect: dict[str, None] = {}
        self._doubted: dict[str, None] = {}
        self._reading: frozenset[str] = frozenset()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        """The names that wait or are being read; a name may count twice."""
        return len(self._suspect) + len(self._doubted) + len(self._reading)

    def __contains__(self, key: object) -> bool:
        return key in self._suspect or key in self._doubted or key in self._reading

    def suspect(self, keys: Iterable[str]) -> None:
        """Has those of `keys` that are held read again in full."""
        self._suspect.update((key, None) for key in keys if key in self._held)
        if self._suspect:
            self._work.set()

    def doubt_all(self) -> None:
        """Has all held names compared."""
        self._doubted = dict.fromkeys(self._held.keys())
        if self._doubted:
            self._work.set()

    async def run(self) -> Never:
        """Reads names again, until it is cancelled."""
        delays = RetryDelays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            await self._work.wait()
            if await self._step():
                delays.reset()
            else:
                await asyncio.sleep(delays.next())
            if not self._suspect and not self._doubted:
                self._work.clear()

    async def reconcile(self, seconds: float) -> Never:
        """Compares all held names every so many seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            self.doubt_all()

    async def _step(self) -> bool:
        """Reads some names again; returns False when the store did not answer for all."""
        waiting = self._suspect or self._doubted
        step = list(islice(waiting, _NAMES_PER_STEP))
        for key in step:
            del waiting[key]
        keys = [key for key in step if key in self._held]
        self._reading = frozenset(keys)
        if waiting is self._suspect:
            answered: set[str] = set(await self._records.ask(keys, wanted=False))
        else:
            versions = await self._versions.ask(keys, wanted=False)
            self.suspect(key for key, version in versions.items() if version is None)
            answered = set(versions)
        away = [key for key in keys if key not in answered]
        waiting.update(dict.fromkeys(away))
        self._reading = frozenset()
        return not away
