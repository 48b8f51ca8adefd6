"""The memory against old records: the greatest generation that was seen of each domain's certificates."""

from collections import OrderedDict
from collections.abc import Iterable

REMEMBERED_DOMAINS = 16_384
"""Of those that nobody holds. At about 250 bytes each: 4 MB. A domain that is held costs 70."""


class Generations:
    """Generations by the domain's own name.

    Generations are compared within one domain only: each shard of the store counts its own. Domains that are kept are never forgotten;
    others are when more than `limit` of them were seen since.
    """

    def __init__(self, limit: int = REMEMBERED_DOMAINS) -> None:
        self._limit = limit
        self._kept: dict[str, int] = {}
        self._recent: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept) + len(self._recent)

    def see(self, fqdn: str, generation: int, *, keep: bool = False) -> bool:
        """Notes a generation; returns False when it is older than one that was seen. `keep`: from here on until `let_go`."""
        greatest = self._kept.get(fqdn)
        if greatest is not None:
            if generation > greatest:
                self._kept[fqdn] = generation
            return generation >= greatest
        greatest = max(self._recent.get(fqdn, generation), generation)
        if keep:
            self._recent.pop(fqdn, None)
            self._kept[fqdn] = greatest
        else:
            self._remember(fqdn, greatest)
        return generation == greatest

    def let_go(self, fqdns: Iterable[str]) -> None:
        """Takes note of domains that need not be kept any more."""
        for fqdn in fqdns:
            greatest = self._kept.pop(fqdn, None)
            if greatest is not None:
                self._remember(fqdn, greatest)

    def forget(self, fqdn: str) -> None:
        """Forgets what was seen of a domain that was deleted: when it is created again it may count from the beginning."""
        self._kept.pop(fqdn, None)
        self._recent.pop(fqdn, None)

    def _remember(self, fqdn: str, generation: int) -> None:
        self._recent[fqdn] = generation
        self._recent.move_to_end(fqdn)
        if len(self._recent) > self._limit:
            self._recent.popitem(last=False)
