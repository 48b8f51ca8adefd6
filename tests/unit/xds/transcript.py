"""Drives a subscription by transcript: a request or a change in, and what is answered out, from a small world of resources."""

from dataclasses import dataclass, field

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, ErrorDetail, Node, NodeMetadata, RequestOutcome, Response, SotwRequest
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.spellings import Spellings
from controlplane.xds.subscription import Absence, Limits

TYPE = "type.example/Thing"
REFUSED = ErrorDetail(3, "no good")


@dataclass(frozen=True)
class Thing:
    """A resource that exists in one version."""

    version: str


@dataclass
class World:
    """What exists, by canonical name.

    `previous` are the versions that were replaced. `away` names are neither known nor unknown, `uncertain` ones are missing but not gone
    for certain; `broken` versions exist but cannot be made. `made` are the versions that were serialised.
    """

    versions: dict[str, str] = field(default_factory=dict)
    previous: dict[str, str] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)

    def known(self, keys):
        """What a look-up says of canonical names."""
        return {key: self._known(key) for key in set(keys) - self.away}

    def _known(self, key):
        if key in self.uncertain:
            return Absence.UNCERTAIN
        return Thing(self.versions[key]) if key in self.versions else Absence.GONE

    def known_before(self, keys):
        """What a look-up says of the resources before those that exist."""
        return {key: Thing(self.previous[key]) if key in self.previous else Absence.GONE for key in set(keys) - self.away}

    def fields(self, names, things):
        """The serialised fields."""
        self.made += [thing.version for thing in things]
        return [None if thing.version in self.broken else content(name, thing.version) for name, thing in zip(names, things, strict=True)]

    def replace(self, key, version):
        """Has another version exist; the one before is the previous one."""
        if self.versions.get(key, version) != version:
            self.previous[key] = self.versions[key]
        self.versions[key] = version


def content(name: bytes, version: str) -> bytes:
    """What a serialised resource looks like here."""
    return b"<" + name + b" " + version.encode() + b">"


class DeltaTranscript:
    """One stream of incremental xDS."""

    def __init__(self, **versions: str) -> None:
        self.world = World({key.replace("_", "."): version for key, version in versions.items()})
        self.node: Node | None = None
        self.subscription = DeltaSubscription(TYPE)
        self.outcome = RequestOutcome()
        self.attempts: dict[tuple[bytes, str], list[int]] = {}
        """The attempt that each version of a name was sent in, each time."""

    def bound(self, max_resources=None, max_spellings=None, pinned=()):
        """Has a client that strangers decide for, and its limits. To be called before the first request."""
        self.subscription = DeltaSubscription(TYPE, Limits(max_resources, max_spellings))
        self.node = Node("edge", "edges", NodeMetadata(on_demand=True, pinned=frozenset(pinned)))

    def request(self, *subscribe, unsubscribe=(), versions=None, nonce="", error=None):
        """Sends a request, returns the answers."""
        self.outcome = self.subscription.receive(
            DeltaRequest(TYPE, self.node, tuple(subscribe), tuple(unsubscribe), versions or {}, nonce, error),
        )
        self.node = None
        return self.answers()

    def reply(self, nonce: str, error: ErrorDetail | None = None):
        """Sends an ACK or a NACK; what is answered to that is not asked for yet."""
        self.outcome = self.subscription.receive(DeltaRequest(TYPE, response_nonce=nonce, error_detail=error))

    def accept(self, *responses: Response):
        """Acknowledges answers, returns what is answered to that."""
        return self._reply(responses)

    def refuse(self, *responses: Response):
        """Refuses answers, returns what is answered to that."""
        return self._reply(responses, REFUSED)

    def _reply(self, responses, error=None):
        answers = []
        for response in responses:
            self.reply(response.nonce, error)
            answers += self.answers()
        return answers

    def change(self, key, version=None):
        """Changes a resource, or removes it, and returns the answers."""
        if version is None:
            self.world.versions.pop(key, None)
        else:
            self.world.replace(key, version)
        self.subscription.changed([key])
        return self.answers()

    def answers(self, limit=1000) -> list[Response]:
        """Looks up what is due until nothing is, or until nothing more is known of what is; returns the answers."""
        answers: list[Response] = []
        while self.subscription.has_work:
            claims = self.subscription.take(limit)
            known = self.world.known(claims.keys)
            previous = self.world.known_before(claims.needs_previous(known))
            for answer in self.subscription.answers(claims, known, self.world.fields, previous):
                for resource in zip(answer.names, answer.versions, strict=True):
                    self.attempts.setdefault(resource, []).append(claims.attempt)
                answers.append(answer)
            if not known.keys() >= set(claims.keys):
                break
        return answers


class SotwTranscript(DeltaTranscript):
    """One stream of the state of the world."""

    def __init__(self, **versions: str) -> None:
        super().__init__(**versions)
        self.subscription = SotwSubscription(TYPE, Spellings(2))
        self.names: tuple[bytes, ...] = ()

    def request(self, *names, nonce="", error=None, version=""):
        """Sends a request, returns the answers."""
        self.names = names
        self.outcome = self.subscription.receive(SotwRequest(TYPE, None, version, names, nonce, error))
        return self.answers()

    def reply(self, nonce: str, error: ErrorDetail | None = None):
        """Sends an ACK or a NACK with the names of the last request; what is answered to that is not asked for yet."""
        self.outcome = self.subscription.receive(SotwRequest(TYPE, None, "", self.names, nonce, error))


def told(responses: list[Response]) -> tuple[dict[bytes, str], set[bytes]]:
    """What answers bring: versions by name, and removed names. No name may be in them twice."""
    versions: dict[bytes, str] = {}
    removed: set[bytes] = set()
    for response in responses:
        brought = dict(zip(response.names, response.versions, strict=True))
        assert len(brought) == len(response.names)
        assert not brought.keys() & versions
        assert [content(name, version) for name, version in brought.items()] == list(response.fields)
        versions |= brought
        assert len(set(response.removed)) == len(response.removed)
        removed |= set(response.removed)
    assert not removed & set(versions)
    return versions, removed
