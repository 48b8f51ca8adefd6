"""How the lanes share a number of places.

A free place goes to the lane that has the fewest for its weight. Places are what is shared, not turns: a name that hangs for fifteen
seconds holds its place all that time, and counts for it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from controlplane.core.lane import Lane


@dataclass(frozen=True, slots=True)
class Share:
    """What a lane may have of a number of places.

    `weight` is its part of the places beside the weights of others that have work. `reserved` is the part of all places that nobody else
    may have, `most` the part that it may have itself; both are rounded down to whole places, `most` never to none.
    """

    weight: int
    reserved: float = 0.0
    most: float = 1.0


SHARES: Final[Mapping[Lane, Share]] = MappingProxyType(
    {
        Lane.URGENT: Share(weight=8, reserved=1 / 16),
        Lane.RENEWAL: Share(weight=4, reserved=1 / 8),
        Lane.NEW: Share(weight=3),
        Lane.SICK: Share(weight=1, most=1 / 4),
    }
)


class LaneShares:
    """Says which lane gets the next free place, and keeps count of who has how many. No clock, no randomness, no waiting.

    It is work-conserving but for what is reserved and for what is the most of a lane: a place that is taken cannot be taken back, so what
    must never wait needs places that are free.
    """

    def __init__(self, places: int, shares: Mapping[Lane, Share] = SHARES) -> None:
        """Begins with all places free.

        Raises:
            ValueError: there is no place.
        """
        if places < 1:
            raise ValueError("there must be a place at least")
        self.places = places
        self._shares = shares
        self._reserved = {lane: int(places * share.reserved) for lane, share in shares.items()}
        self._most = {lane: max(1, int(places * share.most)) for lane, share in shares.items()}
        self._weights = sum(share.weight for share in shares.values())
        self._taken = dict.fromkeys(shares, 0)
        self._passed_over = dict.fromkeys(shares, 0)
        # Places that are kept free for lanes which have not taken what is reserved for them.
        self._kept_free = sum(self._reserved.values())
        self.free = places

    def taken(self, lane: Lane) -> int:
        """Returns how many places the lane has."""
        return self._taken[lane]

    def most(self, lane: Lane) -> int:
        """Returns how many places the lane may have."""
        return self._most[lane]

    def guaranteed(self, lane: Lane) -> int:
        """Returns how many places the lane has once every place that others took before it had work has been given back."""
        unreserved = self.places - sum(self._reserved.values())
        return min(self._most[lane], max(self._reserved[lane], unreserved * self._shares[lane].weight // self._weights))

    def longest_wait(self, lane: Lane) -> int:
        """Returns how many places at most go to others in a row while the lane has work and may take one, however few there are."""
        # Others that have been passed over as long may each come first once.
        return 4 * self._weights // self._shares[lane].weight + len(self._shares)

    def admits(self, lane: Lane) -> bool:
        """Returns whether the lane may take a place now."""
        if not self.free or self._taken[lane] >= self._most[lane]:
            return False
        return self._taken[lane] < self._reserved[lane] or self.free > self._kept_free

    def take_next(self, waiting: Collection[Lane]) -> Lane | None:
        """Takes a place for one of the lanes that have work; returns which, or None when none of them may take one."""
        admitted = [lane for lane in self._shares if lane in waiting and self.admits(lane)]
        if not admitted:
            return None
        chosen = admitted[0] if len(admitted) == 1 else min(admitted, key=self._order)
        for lane in admitted:
            self._passed_over[lane] += 1
        self._take(chosen)
        return chosen

    def take(self, lane: Lane) -> bool:
        """Takes a place for the lane; returns whether it may."""
        if not self.admits(lane):
            return False
        self._take(lane)
        return True

    def give_back(self, lane: Lane) -> None:
        """Gives a place back.

        Raises:
            ValueError: the lane has none.
        """
        if not self._taken[lane]:
            raise ValueError(f"lane {lane} has no place to give back")
        self._taken[lane] -= 1
        self._kept_free += self._taken[lane] < self._reserved[lane]
        self.free += 1

    def _order(self, lane: Lane) -> tuple[bool, bool, float]:
        weight, taken = self._shares[lane].weight, self._taken[lane]
        # With few places the weights alone would let a busy lane of great weight have them all for ever.
        starving = self._passed_over[lane] >= 4 * self._weights // weight
        return not starving, taken >= self._reserved[lane], (taken + 1) / weight

    def _take(self, lane: Lane) -> None:
        self._kept_free -= self._taken[lane] < self._reserved[lane]
        self._taken[lane] += 1
        self._passed_over[lane] = 0
        self.free -= 1
