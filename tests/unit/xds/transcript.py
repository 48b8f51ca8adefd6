"""Drives a subscription by transcript: a request or a change in, and what is answered out, from a small world of resources."""

from dataclasses import dataclass, field

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, ErrorDetail, RequestOutcome, Response, SotwRequest
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Absence

TYPE = "type.example/Thing"
REFUSED = ErrorDetail(3, "no good")


@dataclass(frozen=True)
class Thing:
    """A resource that exists in one version."""

    version: str


@dataclass
class World:
    """What exists, by canonical name.

    `away` names are neither known nor unknown, `uncertain` ones are missing but not gone for certain; `broken` versions exist but
    cannot be made.
    """

    versions: dict[str, str] = field(default_factory=dict)
    away: set[str] = field(default_factory=set)
    uncertain: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    made: list[str] = field(default_factory=list)

    def known(self, claims):
        """What a look-up says of claims."""
        keys = {claim.key for claim in claims} - self.away
        return {key: self._known(key) for key in keys}

    def _known(self, key):
        if key in self.uncertain:
            return Absence.UNCERTAIN
        return Thing(self.versions[key]) if key in self.versions else Absence.GONE

    def body(self, thing):
        """The serialised resource."""
        self.made.append(thing.version)
        return None if thing.version in self.broken else b"body of " + thing.version.encode()


class DeltaTranscript:
    """One stream of incremental xDS."""

    def __init__(self, **versions: str) -> None:
        self.world = World({key.replace("_", "."): version for key, version in versions.items()})
        self.subscription = DeltaSubscription(TYPE)
        self.outcome = RequestOutcome()

    def request(self, *subscribe, unsubscribe=(), versions=None, nonce="", error=None):
        """Sends a request, returns the answers."""
        self.outcome = self.subscription.receive(
            DeltaRequest(TYPE, "", tuple(subscribe), tuple(unsubscribe), versions or {}, nonce, error),
        )
        return self.answers()

    def change(self, key, version=None):
        """Changes a resource, or removes it, and returns the answers."""
        if version is None:
            self.world.versions.pop(key, None)
        else:
            self.world.versions[key] = version
        self.subscription.changed([key])
        return self.answers()

    def answers(self, limit=1000) -> list[Response]:
        """Looks up what is due, once, and returns the answers."""
        if not self.subscription.has_work:
            return []
        claims = self.subscription.take(limit)
        return list(self.subscription.answers(claims, self.world.known(claims), self.world.body))


class SotwTranscript(DeltaTranscript):
    """One stream of the state of the world."""

    def __init__(self, **versions: str) -> None:
        super().__init__(**versions)
        self.subscription = SotwSubscription(TYPE)

    def request(self, *names, nonce="", error=None, version=""):
        """Sends a request, returns the answers."""
        self.outcome = self.subscription.receive(SotwRequest(TYPE, "", version, tuple(names), nonce, error))
        return self.answers()


def told(responses: list[Response]) -> tuple[dict[bytes, str], set[bytes]]:
    """What answers bring: versions by name, and removed names. No name may be in them twice."""
    versions: dict[bytes, str] = {}
    removed: set[bytes] = set()
    for response in responses:
        for resource in response.resources:
            assert resource.name not in versions
            versions[resource.name] = resource.version
        removed |= set(response.removed)
    assert not removed & set(versions)
    return versions, removed
