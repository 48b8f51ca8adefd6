"""The memory against old records: the greatest generation that was seen of each domain's certificates."""

from collections import OrderedDict
from dataclasses import dataclass
from weakref import WeakValueDictionary

REMEMBERED_DOMAINS = 16_384
"""At about 400 bytes each: 7 MB."""


@dataclass(slots=True, weakref_slot=True)
class Generation:
    """The greatest generation that was seen of one domain's certificates. Whoever keeps it keeps the domain from being forgotten."""

    greatest: int = 0

    def see(self, generation: int) -> bool:
        """Notes a generation; returns False when it is older than one that was seen."""
        if generation < self.greatest:
            return False
        self.greatest = generation
        return True


class Generations:
    """Generations by the domain's own name.

    Generations are compared within one domain only: each shard of the store counts its own. Domains that nobody keeps are forgotten
    when more than `limit` others were seen since.
    """

    def __init__(self, limit: int = REMEMBERED_DOMAINS) -> None:
        self._limit = limit
        self._recent: OrderedDict[str, Generation] = OrderedDict()
        self._all: WeakValueDictionary[str, Generation] = WeakValueDictionary()

    def of(self, fqdn: str) -> Generation:
        """Returns what was seen of a domain."""
        generation = self._all.get(fqdn)
        if generation is None:
            generation = self._all[fqdn] = Generation()
        self._recent[fqdn] = generation
        self._recent.move_to_end(fqdn)
        if len(self._recent) > self._limit:
            self._recent.popitem(last=False)
        return generation

    def forget(self, fqdn: str) -> None:
        """Forgets what was seen of a domain that was deleted: when it is created again it may count from the beginning."""
        generation = self._all.get(fqdn)
        if generation is not None:
            generation.greatest = 0
