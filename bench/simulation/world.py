"""The clock, the lanes and the places: from what is due to what is begun.

Workers are modelled by what they can begin in a slot of time: so many places, shared by the lanes as `LaneShares` says. In nearly all slots
fewer domains are due than every lane has guaranteed, and each is taken at the moment it is due. Else they wait in their lanes, the
longest due first. What places orders that count (new customers, and the sick) is taken while the account's limit has room, as the worker
does it.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random

from bench.simulation.attempts import Attempts
from bench.simulation.gate import Gate
from bench.simulation.population import Population
from bench.simulation.scenario import START, Scenario
from bench.simulation.schedule import Schedule
from bench.simulation.site import Site
from bench.simulation.tally import Tally
from bench.simulation.virtual_ca import VirtualCa
from controlplane.adapters.ca_profiles import load_profile
from controlplane.core.lane import Lane
from controlplane.core.lane_shares import LaneShares

SLOT = timedelta(seconds=30)
_PLACES_ORDERS: Sequence[Lane] = (Lane.NEW, Lane.SICK)
# Orders that may begin at once by the CA's request rates: six requests each, of a burst that the core makes a hundred. They come back at
# this rate a second.
_AT_ONCE, _AT_ONCE_RATE = 14.0, 40.0
_LONG_ENOUGH = timedelta(seconds=_AT_ONCE / _AT_ONCE_RATE)


class World:
    """A simulated year."""

    def __init__(self, scenario: Scenario) -> None:
        random = Random(scenario.seed)
        self.scenario = scenario
        self.tally = Tally(scenario)
        self.ca = VirtualCa(scenario.lifetime, START, scenario.outages)
        self.gate = Gate(load_profile("letsencrypt"), self.ca.directory_url, self.ca.account_url, limiter=scenario.limiter)
        self.schedule = Schedule(START, scenario.end, SLOT)
        fraction = random.random if scenario.spread else lambda: 0.0
        self.attempts = Attempts(scenario, self.ca, self.gate, self.schedule, self.tally, fraction)
        self.population = Population(scenario, self.ca, self.attempts, self.schedule, self.tally, random)
        self._spacing = timedelta(seconds=1 / scenario.attempts_per_second)
        self._places = LaneShares(max(1, int(scenario.attempts_per_second * SLOT.total_seconds())))
        self._uncontended = min(self._places.guaranteed(lane) for lane in Lane)
        self._waiting: dict[Lane, deque[tuple[datetime, Site]]] = {lane: deque() for lane in Lane}
        self._begun = 0
        self._queued = False
        self._last_begin = START
        self._at_once = 0.0

    def run(self) -> float:
        """Lets the time pass; returns the seconds of processor time that it took."""
        begin = time.process_time()
        self.population.settle()
        for start, end in self.schedule.slots():
            self._slot(start, end)
        for site in self.population.sites:
            if site.certificate is not None and not site.gone:
                self.tally.ended(site, self.scenario.end)
        return time.process_time() - begin

    def _slot(self, start: datetime, end: datetime) -> None:
        waiting, carry_out, gate = self._waiting, self.attempts.carry_out, self.gate
        self._begun = 0
        queued = self._queued
        while True:
            entries = self.schedule.take()
            for when, what, action in entries:
                if action is not None:
                    action(what, when)
                elif what.due is not when:
                    continue
                elif (
                    queued
                    or self._begun >= self._uncontended
                    or self._is_burst(when)
                    or (what.lane in _PLACES_ORDERS and gate.room(when) < 1)
                ):
                    waiting[what.lane].append((when, what))
                    if not queued:
                        queued = True
                        self._pace_begun(when)
                else:
                    self._begun += 1
                    carry_out(what, when)
            if queued:
                begun = self._begun
                self._share_places(start, end)
                queued = any(waiting.values())
                if self._begun > begun:
                    continue
            if not entries:
                break
        self._queued = queued

    def _is_burst(self, when: datetime) -> bool:
        """Returns whether so many orders have begun just now that another may be held by the CA's request rates; counts it if not."""
        passed = when - self._last_begin
        if passed >= _LONG_ENOUGH:
            self._at_once, self._last_begin = 1.0, when
            return False
        at_once = max(0.0, self._at_once - passed.total_seconds() * _AT_ONCE_RATE) + 1
        if at_once > _AT_ONCE:
            return True
        self._at_once, self._last_begin = at_once, max(when, self._last_begin)
        return False

    def _pace_begun(self, when: datetime) -> None:
        """Has the gate know of the orders that have begun just now without asking it."""
        for _ in range(math.ceil(self._at_once)):
            self.gate.pace(when)

    def _share_places(self, start: datetime, end: datetime) -> None:
        """Takes from the lanes until nothing waits, nothing may be taken, or the slot is over."""
        waiting, places, gate, waits = self._waiting, self._places, self.gate, self.tally.longest_wait
        self.tally.longest_queue = max(self.tally.longest_queue, sum(map(len, waiting.values())))
        taken = []
        now = max(start, self._last_begin)
        first_due = {lane: queue[0][0] for lane, queue in waiting.items() if queue}
        while now < end:
            heads = first_due
            if Lane.NEW in heads or Lane.SICK in heads:
                room_from = gate.until_room(now)
                heads = {lane: max(due, room_from) if lane in _PLACES_ORDERS else due for lane, due in heads.items()}
            lane = places.take_next([lane for lane, ready in heads.items() if ready <= now])
            if lane is None:
                # Nothing is ready, or what is ready may not have more places before the slot is over.
                now = min((ready for lane, ready in heads.items() if ready > now and places.admits(lane)), default=end)
                continue
            taken.append(lane)
            queue = waiting[lane]
            due, site = queue.popleft()
            if queue:
                first_due[lane] = queue[0][0]
            else:
                del first_due[lane]
            if site.due is not due:
                continue
            self._begun += 1
            if now - due > waits[lane]:
                waits[lane] = now - due
            self.attempts.carry_out(site, now, paced=True)
            self._at_once, self._last_begin = _AT_ONCE, max(now, gate.paced_until)
            now = max(now + self._spacing, gate.paced_until)
        for lane in taken:
            places.give_back(lane)
