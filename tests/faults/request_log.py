"""What came through the proxy, so that tests count steps by what the CA saw and not by what a client believes."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from josepy.json_util import decode_b64jose

from tests.faults.endpoints import Endpoint
from tests.faults.http1 import Request


@dataclass(slots=True)
class LoggedRequest:
    """One request of a client. `protected` and `payload` are its JWS's, decoded; empty without one, and `payload` for POST-as-GET.

    `ca_statuses` has the HTTP status of each time that it reached the CA; `answered` the status that the client was sent, None for none;
    `fault` what was done to it.
    """

    endpoint: Endpoint
    method: str
    path: str
    protected: Mapping[str, Any]
    payload: Mapping[str, Any]
    at: float
    ca_statuses: list[int] = field(default_factory=list)
    answered: int | None = None
    fault: object = None

    @property
    def url(self) -> str:
        """The `url` of the JWS's protected header (RFC 8555 section 6.4)."""
        return str(self.protected.get("url", ""))

    @property
    def account(self) -> str:
        """The account's URL; empty when the request is signed by the key itself, or not at all."""
        return str(self.protected.get("kid", ""))

    @classmethod
    def of(cls, endpoint: Endpoint, request: Request) -> "LoggedRequest":
        """Returns the entry of a request that has just come."""
        jws = json.loads(request.body) if request.method == "POST" else {}
        payload = decode_b64jose(jws["payload"]) if jws.get("payload") else b"{}"
        protected = json.loads(decode_b64jose(jws["protected"])) if jws else {}
        return cls(endpoint, request.method, request.target, protected, json.loads(payload), time.monotonic())


@dataclass(slots=True)
class PlacedOrder:
    """An order that the CA has taken. `document` is the reply to its newOrder, `status` what the CA last said.

    `followed` is true once anything of it was asked for: before that nobody knows its URL for certain.
    """

    path: str
    account: str
    names: tuple[str, ...]
    replaces: str
    document: Mapping[str, Any]
    followed: bool = False
    status: str = "pending"


@dataclass(slots=True)
class RequestLog:
    """Everything that came, the first first. `accepted_kinds` are the resources a request to which has taken effect."""

    requests: list[LoggedRequest] = field(default_factory=list)
    orders: list[PlacedOrder] = field(default_factory=list)
    accepted_kinds: set[Endpoint] = field(default_factory=set)
    _order_of: dict[str, int] = field(default_factory=dict)

    def of(self, endpoint: Endpoint) -> Sequence[LoggedRequest]:
        """Returns the requests for one kind of resource."""
        return [each for each in self.requests if each.endpoint is endpoint]

    def accepted(self, endpoint: Endpoint) -> int:
        """Returns how often such a request took effect at the CA."""
        return sum(200 <= status < 300 for each in self.of(endpoint) for status in each.ca_statuses)

    def order_of(self, path: str) -> int | None:
        """Returns the number, from 1, of the order that a path belongs to, as far as the CA has said so; None for none."""
        return self._order_of.get(path)

    def add_order(self, order: PlacedOrder) -> None:
        """Notes an order that the CA has taken."""
        self.orders.append(order)
        self._order_of[order.path] = len(self.orders)

    def belongs(self, path: str, to: str) -> None:
        """Notes that the resource at `path` is part of the order that the one at `to` is part of; of several, the last."""
        if (number := self._order_of.get(to)) is not None:
            self._order_of[path] = number

    @property
    def unfollowed(self) -> int:
        """How many orders nobody asked for again: their newOrder's answer was lost."""
        return sum(not order.followed for order in self.orders)
