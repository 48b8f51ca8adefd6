"""Incremental xDS: one client's subscription on one stream (xDS page, "Incremental xDS").

Each name that the client holds is in one of three states. OWED: the client asked for it and must be told, whatever it knows
("Subscribing to Resources": a name may be asked for again, and the server must still provide it). CHECK: it may have changed, so
the client is told only if what it was told is not true any more. SETTLED: nothing to say.

    state      subscribe   changed    taken, then answered with
                                      version told before   another version   gone               uncertain          nothing known
    (none)     OWED (1)    (none)     -                     -                 -                  -                  -
    OWED       OWED        OWED       resource, SETTLED     resource, SETTLED removed, SETTLED   removed, SETTLED   OWED
    CHECK      OWED        CHECK      SETTLED               resource, SETTLED removed (2)        SETTLED (3)        CHECK
    SETTLED    OWED        CHECK      -                     -                 -                  -                  -

    unsubscribe leads from every state to (none), without an answer ("Unsubscribing from Resources").
    (1) CHECK instead when the first request of the stream says which version the client holds (`initial_resource_versions`).
    (2) Once; a client that was told so already is not told again.
    (3) Without an answer: the version that the client holds may well be good, and only a resource that is gone for certain is taken
    away. A resource that exists but cannot be made is uncertain too.

Nonces pair an answer with its ACK or NACK and never block: subscriptions in a request with an old nonce count. A NACK changes no state:
the client goes on with what it has, and sending it the same again would only be refused again. After a reconnection the client says
which versions it has, and what differs is sent.

Strangers decide what an edge asks for, and each spelling of a name is one more secret in its memory. So a client is given so many
resources at most: what it fetched longest ago is removed, in the answer that brings a new one, and forgotten; a client that needs it
asks again. What the client waits for is never removed in this way.

Where the page leaves a choice:
- A name in both lists of a request is subscribed: to be told of a name that is not wanted is harmless, to wait for one is not.
- A name that cannot exist (see `resource_names`) is answered as removed at once and not kept, so that strangers' names take no room.
  The wildcard `*` is such a name: there is no list of everything. A first request without names is a wildcard by the page's historical
  rule, and is answered as if it had said `*`.
- A name that is not UTF-8 is not answered at all: the answer would be refused and the stream with it.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from controlplane.xds.cutting import cut
from controlplane.xds.messages import MAX_RESPONSE_RESOURCES, DeltaRequest, RequestOutcome, Resource, Response
from controlplane.xds.resource_names import WILDCARD, canonical_name, is_answerable
from controlplane.xds.subscription import REMOVED, Absence, Claim, HeldName, NameTable, SentAnswers, V


class DeltaSubscription:
    """The subscription of one client to one type of resource, on one stream of incremental xDS. See the table above."""

    def __init__(self, type_url: str, max_resources: int | None = None) -> None:
        """Makes a subscription without names. The client is given `max_resources` at most; None: as many as it asks for.

        Raises:
            ValueError: `max_resources` is less than one answer may bring.
        """
        if max_resources is not None and max_resources < MAX_RESPONSE_RESOURCES:
            raise ValueError(f"max_resources is less than {MAX_RESPONSE_RESOURCES}")
        self._type_url = type_url
        self._max_resources = max_resources
        self._fetched: dict[bytes, None] = {}
        self._names = NameTable()
        self._sent = SentAnswers()
        self._owed: dict[bytes, None] = {}
        self._check: dict[bytes, None] = {}
        self._impossible: dict[bytes, None] = {}
        self._first = True

    def receive(self, request: DeltaRequest) -> RequestOutcome:
        """Takes a request."""
        first, self._first = self._first, False
        held_versions: Mapping[bytes, str] = request.initial_resource_versions if first else {}
        acknowledgement = self._sent.acknowledge(request.response_nonce, request.error_detail)
        for name in request.unsubscribe:
            self._unsubscribe(name)
        if first and not request.subscribe:
            self._impossible[WILDCARD] = None
        impossible = unanswerable = 0
        resumed: list[str] = []
        for name in request.subscribe:
            key = canonical_name(name)
            if key is not None:
                held_version = held_versions.get(name)
                if held_version:
                    resumed.append(key)
                self._subscribe(name, key, held_version)
                continue
            impossible += 1
            if is_answerable(name):
                self._impossible[name] = None
            else:
                unanswerable += 1
        held, released = self._names.net_changes()
        return RequestOutcome(acknowledgement, held, released, False, impossible, unanswerable, tuple(resumed))

    def _subscribe(self, name: bytes, key: str, held_version: str | None) -> None:
        entry = self._names.hold(name, key)
        if held_version:
            entry.told = held_version
            self._fetched[name] = None
            self._check[name] = None
        else:
            self._check.pop(name, None)
            self._owed[name] = None

    def _unsubscribe(self, name: bytes) -> None:
        self._names.release(name)
        for due in (self._owed, self._check, self._impossible, self._fetched):
            due.pop(name, None)

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that the resources behind these canonical names may have changed."""
        for key in keys:
            for name in self._names.spellings(key):
                if name not in self._owed:
                    self._check[name] = None

    @property
    def has_work(self) -> bool:
        """Whether `take` or `answers` has something to give."""
        return bool(self._owed or self._check or self._impossible)

    def take(self, limit: int) -> Sequence[Claim]:
        """Hands out up to `limit` names that an answer is due for, those that a client waits for first."""
        claims: list[Claim] = []
        for due, owed in ((self._owed, True), (self._check, False)):
            for name in list(islice(due, limit - len(claims))):
                del due[name]
                entry = self._names.get(name)
                if entry is not None:
                    claims.append(Claim(name, entry.key, owed))
        return claims

    def answers(self, claims: Sequence[Claim], known: Mapping[str, V | Absence], body: Callable[[V], bytes | None]) -> Iterator[Response]:
        """Makes the answers for claims. See `Subscription.answers`."""
        for resources, removed in cut(self._items(claims, known, body)):
            versions = [resource.version for resource in resources]
            nonce = self._sent.next_nonce(versions)
            yield Response(self._type_url, nonce, versions[-1] if versions else "", resources, removed)

    def _items(
        self, claims: Sequence[Claim], known: Mapping[str, V | Absence], body: Callable[[V], bytes | None]
    ) -> Iterator[Resource | bytes]:
        impossible, self._impossible = self._impossible, {}
        yield from impossible
        claimed = {claim.name for claim in claims}
        for claim in claims:
            entry = self._names.get(claim.name)
            if entry is None:
                continue  # unsubscribed since it was taken
            if claim.key not in known:
                self._put_back(claim)
                continue
            item = _fulfil(claim, entry, known[claim.key], body)
            if item is None:
                continue
            self._fetched.pop(claim.name, None)
            yield item
            if isinstance(item, Resource) and self._names.get(claim.name) is entry:
                self._fetched[claim.name] = None
                yield from self._evict(claimed)

    def _evict(self, claimed: Container[bytes]) -> Iterator[bytes]:
        """Forgets what is too much, and yields it to be removed: never a name of the same answer, nor one that the client waits for."""
        if self._max_resources is None or len(self._fetched) <= self._max_resources:
            return
        idle = (name for name in self._fetched if name not in self._owed and name not in claimed)
        evicted = list(islice(idle, len(self._fetched) - self._max_resources))
        for name in evicted:
            self._unsubscribe(name)
        yield from evicted

    def _put_back(self, claim: Claim) -> None:
        if claim.owed:
            self._check.pop(claim.name, None)
            self._owed[claim.name] = None
        elif claim.name not in self._owed:
            self._check[claim.name] = None


def _fulfil(claim: Claim, entry: HeldName, resource: V | Absence, body: Callable[[V], bytes | None]) -> Resource | bytes | None:
    """Returns what to tell the client: a resource, a name as removed, or nothing; notes in the entry what it was told."""
    if not isinstance(resource, Absence):
        if not claim.owed and resource.version == entry.told:
            return None
        content = body(resource)
        if content is not None:
            entry.told = resource.version
            return Resource(claim.name, resource.version, content)
    if not claim.owed and (entry.told == REMOVED or (entry.told is not None and resource is not Absence.GONE)):
        return None
    entry.told = REMOVED
    return claim.name
