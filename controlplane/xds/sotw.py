"""State of the world: one client's subscription on one stream (xDS page, "Basic Protocol Overview").

Each request names everything that the client wants. What happens to a request depends on its nonce ("Resource updates"):

    nonce in the request            no answer sent yet      an answer was sent
    empty                           taken                   stale
    that of the last answer         -                       taken: ACK or NACK, and perhaps other names
    any other                       taken (1)               stale

    Stale: the names are not taken and nothing is answered, since a request with the last nonce is on its way. An ACK or NACK in it is
    still read. (1) Some clients bring the nonce of an earlier stream; it means nothing here.

Names are in the states of `delta`: OWED when they are new in a request ("the server must resend any newly requested resources"), CHECK
when they may have changed, SETTLED. But there is no way to say that a resource does not exist ("Knowing When a Requested Resource Does
Not Exist"): such a name is absent from the answer, stays in the subscription, and is answered when it springs into existence. A
resource that is gone is not sent again; nothing tells the client. One that is uncertain is left out too, which takes nothing away from a
client of secrets ("Grouping Resources into Responses").

A first request that holds no name, since it has none or only `*` and names that cannot exist, is answered at once and without resources:
whoever sent it waits for nothing.

"Grouping Resources into Responses" lets a server of secrets answer with what changed only, but a client that reads an answer as the
whole state then misses what it had before. So the whole state is sent whenever the subscription has `WHOLE_STATE_NAMES` names or fewer;
with more the answer would grow with every name, and holds what is due only.

The first request of a stream is answered in full whatever its `version_info` says: it does not tell for which names the client had it.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from controlplane.xds.cutting import cut
from controlplane.xds.messages import MAX_RESPONSE_RESOURCES, RequestOutcome, Resource, Response, SotwRequest
from controlplane.xds.resource_names import canonical_name, is_answerable
from controlplane.xds.subscription import Absence, Claim, HeldName, NameTable, SentAnswers, V

WHOLE_STATE_NAMES = MAX_RESPONSE_RESOURCES


class SotwSubscription:
    """The subscription of one client to one type of resource, on one state-of-the-world stream. See the table above."""

    def __init__(self, type_url: str) -> None:
        self._type_url = type_url
        self._names = NameTable()
        self._sent = SentAnswers()
        self._owed: dict[bytes, None] = {}
        self._check: dict[bytes, None] = {}
        self._first = True
        self._nothing_owed = False

    def receive(self, request: SotwRequest) -> RequestOutcome:
        """Takes a request."""
        last_nonce = self._sent.last_nonce
        acknowledgement = self._sent.acknowledge(request.response_nonce, request.error_detail)
        if last_nonce and request.response_nonce != last_nonce:
            return RequestOutcome(acknowledgement, stale=True)
        wanted = {name: canonical_name(name) for name in request.resource_names}
        for name in [name for name in self._names if name not in wanted]:
            self._names.release(name)
            self._owed.pop(name, None)
            self._check.pop(name, None)
        for name, key in wanted.items():
            if key is not None and self._names.get(name) is None:
                self._names.hold(name, key)
                self._owed[name] = None
        held, released = self._names.net_changes()
        self._nothing_owed = not self._names and (self._first or self._nothing_owed)
        self._first = False
        impossible = [name for name, key in wanted.items() if key is None]
        unanswerable = sum(not is_answerable(name) for name in impossible)
        return RequestOutcome(acknowledgement, held, released, False, len(impossible), unanswerable)

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that the resources behind these canonical names may have changed."""
        for key in keys:
            for name in self._names.spellings(key):
                if name not in self._owed:
                    self._check[name] = None

    @property
    def has_work(self) -> bool:
        """Whether `take` or `answers` has something to give."""
        return bool(self._owed or self._check or self._nothing_owed)

    @property
    def _whole(self) -> bool:
        return len(self._names) <= WHOLE_STATE_NAMES

    def take(self, limit: int) -> Sequence[Claim]:
        """Hands out up to `limit` names that an answer is due for, or all names when the whole state is to be sent."""
        if not self.has_work:
            return ()
        if self._whole:
            owed, self._owed, self._check = self._owed, {}, {}
            return [Claim(name, entry.key, name in owed) for name, entry in self._names.items()]
        claims: list[Claim] = []
        for due, is_owed in ((self._owed, True), (self._check, False)):
            for name in list(islice(due, limit - len(claims))):
                del due[name]
                entry = self._names.get(name)
                if entry is not None:
                    claims.append(Claim(name, entry.key, is_owed))
        return claims

    def answers(self, claims: Sequence[Claim], known: Mapping[str, V | Absence], body: Callable[[V], bytes | None]) -> Iterator[Response]:
        """Makes the answers for claims. See `Subscription.answers`. The whole state waits until everything in it is known."""
        if self._nothing_owed:
            self._nothing_owed = False
            yield Response(self._type_url, self._sent.next_nonce(()), self._version_info())
            return
        whole = self._whole
        unknown = [claim for claim in claims if claim.key not in known]
        incomplete = whole and (bool(unknown) or not {claim.name for claim in claims}.issuperset(self._names))
        for claim in claims if incomplete else unknown:
            self._put_back(claim)
        if incomplete:
            return
        present: list[tuple[bytes, HeldName, V]] = []
        news: list[tuple[bytes, HeldName, V]] = []
        for claim in claims:
            entry, resource = self._names.get(claim.name), known.get(claim.key)
            if entry is None or resource is None:
                continue
            if isinstance(resource, Absence):
                if resource is Absence.GONE:
                    entry.told = None
                continue
            present.append((claim.name, entry, resource))
            if (claim.owed or entry.told != resource.version) and body(resource) is not None:
                news.append(present[-1])
        for resources, _ in cut(_items(present if whole and news else news, body)):
            nonce = self._sent.next_nonce(resource.version for resource in resources)
            yield Response(self._type_url, nonce, self._version_info(), resources)

    def _put_back(self, claim: Claim) -> None:
        if claim.name not in self._owed and self._names.get(claim.name) is not None:
            (self._owed if claim.owed else self._check)[claim.name] = None

    def _version_info(self) -> str:
        """Returns a version of everything that the client was told: the same on every replica, another after any change."""
        digest = hashlib.sha256()
        for name, version in sorted((name, entry.told) for name, entry in self._names.items() if entry.told):
            digest.update(len(name).to_bytes(4, "big") + name + version.encode())
        return digest.hexdigest()[:32]


def _items(sent: Iterable[tuple[bytes, HeldName, V]], body: Callable[[V], bytes | None]) -> Iterator[Resource]:
    """Yields the resources, one by one, and notes in the entries what the client was told."""
    for name, entry, resource in sent:
        content = body(resource)
        entry.told = None if content is None else resource.version
        if content is not None:
            yield Resource(name, resource.version, content)
