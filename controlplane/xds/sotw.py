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
with more the answer would grow with every name, and holds what is due only. So do the answers that follow a NACK (see `refusals`); the
next whole state leaves out what is marked bad, unless the client has the previous resource.

The first request of a stream is answered in full whatever its `version_info` says: it does not tell for which names the client had it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from controlplane.xds.held_names import HeldNames
from controlplane.xds.messages import RequestOutcome, Response, SotwRequest
from controlplane.xds.refusals import Refusals
from controlplane.xds.resource_names import is_answerable
from controlplane.xds.selection import ROOM_BYTES, Selection, Selector, count_fitting, make
from controlplane.xds.sent_answers import SentAnswer
from controlplane.xds.spellings import SPELLINGS, Parsed, Spellings
from controlplane.xds.subscription import Absence, Claims, Fields, V

WHOLE_STATE_NAMES = 64


class SotwSubscription:
    """The subscription of one client to one type of resource, on one state-of-the-world stream. See the table above."""

    def __init__(self, type_url: str, spellings: Spellings = SPELLINGS) -> None:
        """Makes a subscription without names. It has no bound: nothing can be taken away from its client."""
        self._type_url = type_url
        self._spellings = spellings
        self._names = HeldNames()
        self._refusals = Refusals(self._names)
        self._first = True
        self._nothing_owed = False

    # ---- in ----

    def receive(self, request: SotwRequest) -> RequestOutcome:
        """Takes a request."""
        last_nonce = self._refusals.sent.last_nonce
        acknowledgement = self._refusals.acknowledge(request.response_nonce, request.error_detail)
        if last_nonce and request.response_nonce != last_nonce:
            return RequestOutcome(acknowledgement, stale=True)
        wanted = self._spellings.parse(request.resource_names)
        held = self._subscribe(wanted)
        self._nothing_owed = not self._names.told and (self._first or self._nothing_owed)
        self._first = False
        unanswerable = sum(not is_answerable(name) for name in wanted.impossible)
        released = self._names.take_released()
        return RequestOutcome(acknowledgement, held, released, False, len(wanted.impossible), unanswerable)

    def _subscribe(self, wanted: Parsed) -> tuple[str, ...]:
        """Holds these names and no others; returns the canonical names that are held since now."""
        told = self._names.told
        if wanted.possible.keys() == told.keys():
            return ()
        self._refusals.forget(self._names.forget([name for name in told if name not in wanted.possible]))
        new = {name: key for name, key in wanted.possible.items() if name not in told}
        held, _ = self._names.subscribe(Parsed(new, [name for name in wanted.respelled if name in new]))
        self._refusals.remember(new.keys())
        return held

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that the resources behind these canonical names may have changed."""
        self._names.changed(keys)

    def end(self) -> Sequence[str]:
        """Forgets everything. See `Subscription.end`."""
        self._nothing_owed = False
        self._refusals = Refusals(self._names)
        return self._names.end()

    # ---- out ----

    @property
    def has_work(self) -> bool:
        """Whether `take` or `answers` has something to give."""
        return self._others_due or self._nothing_owed or self._refusals.has_work

    @property
    def is_behind(self) -> bool:
        """Never: an answer says nothing of what does not exist, so it does not wait to be said."""
        return False

    @property
    def _others_due(self) -> bool:
        return bool(self._names.owed_count or self._names.check)

    @property
    def _whole(self) -> bool:
        return len(self._names.told) <= WHOLE_STATE_NAMES

    def take(self, limit: int) -> Claims:
        """Hands out names: those that go alone, or all of them when the whole state is to be sent, or up to `limit` that are due."""
        alone = self._refusals.take(others=self._others_due)
        if alone is not None:
            return self._claims(alone.names, alone.attempt)
        if not self._whole:
            due = self._names.take(limit)
            return Claims(due.names, due.keys, due.told, self._refusals.marked(due.names), stage=due.stage)
        if not self._others_due:
            return Claims()
        self._names.take(WHOLE_STATE_NAMES)
        return self._claims(self._names.told)

    def _claims(self, names: Iterable[bytes], attempt: int = 0) -> Claims:
        names = tuple(names)
        return Claims(names, tuple(map(self._names.key, names)), {}, self._refusals.marked(names), attempt=attempt)

    def answers(
        self, claims: Claims, known: Mapping[str, V | Absence], fields: Fields[V], previous: Mapping[str, V | Absence] | None = None
    ) -> Iterator[Response]:
        """Makes the answers for claims. See `Subscription.answers`. The whole state waits until everything in it is known."""
        if self._nothing_owed:
            self._nothing_owed = False
            yield self._answer(Selection(0), ())
            return
        if self._whole and not claims.alone and not self._is_complete(claims, known, previous or {}):
            for name, key in zip(claims.names, claims.keys, strict=True):
                if name in self._names.told:
                    self._names.put_back(name, key)
            return
        whole = self._whole and not claims.alone
        selector = Selector(self._names, self._refusals, claims, known=known, previous=previous)
        while selector.has_more():
            selection = selector.select()
            contents = selector.serialise(selection, fields)
            self._names.tell(selection.names, selection.versions, selection.befores)
            self._names.tell_removed(selection.removed, selection.removed_befores)
            if whole and not selector.has_more() and selection.names:
                contents = self._add_settled(selection, contents, claims, fields, known=known, previous=previous or {})
            whole = False
            if selection.names:
                yield self._answer(selection, contents)

    def _is_complete(self, claims: Claims, known: Mapping[str, V | Absence], previous: Mapping[str, V | Absence]) -> bool:
        """Returns whether the claims are all names, none was asked for since, and everything is known of them."""
        wanted = self._names.told.keys() - self._refusals.isolated
        if self._names.owed_count or not wanted.issubset(claims.names):
            return False
        held = [key for name, key in zip(claims.names, claims.keys, strict=True) if name in wanted]
        return all(key in known for key in held) and all(key in previous for key in claims.needs_previous(known))

    def _add_settled(
        self,
        selection: Selection[V],
        contents: Sequence[bytes],
        claims: Claims,
        fields: Fields[V],
        *,
        known: Mapping[str, V | Absence],
        previous: Mapping[str, V | Absence],
    ) -> Sequence[bytes]:
        """Adds what the client has already to what is new, to make the whole state of it; returns the fields of both."""
        settled: Selection[V] = Selection(0)
        selected = {*selection.names, *selection.removed}
        for name, key in zip(claims.names, claims.keys, strict=True):
            told = self._names.told.get(name)
            if not told or name in selected:
                continue
            for source in (known, previous):
                value = source.get(key)
                if value is not None and not isinstance(value, Absence) and value.version == told:
                    settled.add(name, value, told)
                    break
        more = make(settled, fields)
        count = count_fitting(more, ROOM_BYTES - sum(map(len, contents)))
        selection.names += settled.names[:count]
        selection.versions += settled.versions[:count]
        selection.befores += settled.befores[:count]
        return (*contents, *more[:count])

    def _answer(self, selection: Selection[V], contents: Sequence[bytes]) -> Response:
        names, versions = tuple(selection.names), tuple(selection.versions)
        answer = SentAnswer(names, versions, selection.befores, substituted=selection.substituted, attempt=selection.attempt)
        nonce = self._refusals.sent.add(answer)
        return Response(self._type_url, nonce, _version_info(names, versions), names, versions, tuple(contents))

    # ---- shown ----

    def holds(self, key: str) -> bool:
        """Returns whether the client holds this canonical name, in any spelling."""
        return self._names.holds(key)

    @property
    def held_count(self) -> int:
        """How many names the client has a version of."""
        return self._names.count

    def held(self) -> Iterable[tuple[bytes, str]]:
        """Returns the names that the client has, with the version told, those first that were asked for longest ago."""
        return self._names.versions()

    def refetched(self) -> Mapping[bytes, int]:
        """Returns nothing: a request repeats what the client has, and does not ask for it again."""
        return {}

    def refused(self) -> Mapping[bytes, str]:
        """Returns the names whose version is marked bad, with that version."""
        return self._refusals.shown()


def _version_info(names: Sequence[bytes], versions: Sequence[str]) -> str:
    """Returns a version of an answer's content: the same on every replica, another after any change."""
    digest = hashlib.sha256()
    for name, version in sorted(zip(names, versions, strict=True)):
        digest.update(len(name).to_bytes(4, "big") + name + version.encode())
    return digest.hexdigest()[:32]
