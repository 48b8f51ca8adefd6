"""A CA that enforces Let's Encrypt's limits (documentation of August 2026), by its own count: nothing of Certplane's limiter is in it.

It works on seconds since the beginning as floating-point numbers and keeps for each limit when it would be full again.

| limit | value, refill | exempt by ARI |
|---|---|---|
| new orders an account | 300, one each 36 s | yes |
| certificates a registered domain | 50, one each 12,096 s | yes |
| exact same set of names | 5, one each 34 h | yes |
| failed authorizations a name and account | 5, one each 12 min | yes |
| consecutive failures a name | 1,152, one a day; success resets; then the name is paused for good | no |
| requests a second (burst) | other than newOrder, newNonce and renewalInfo 250 (125) | no |

An order is exempt when it replaces a certificate of the same account with the same name that was not replaced before, inside its renewal
window: ±1 % of the validity around two thirds of it (half under ten days). An order that replaces what was replaced already is refused
with `alreadyReplaced`.

Names end in a public suffix of one label, so the registered domain is the last two labels.
"""

import base64
from collections import Counter
from datetime import datetime, timedelta
from typing import cast

from bench.simulation.scenario import MassRevocation, Outage
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, RenewalInfo

_ACME = "urn:ietf:params:acme:error:"
_BACKDATED = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
# Our clock and the CA's agree; microseconds and floating-point numbers do not quite.
_SLACK = 1e-4
_REQUESTS_BESIDE_NEW_ORDER = 6
_RETRY_AFTER = 21_600.0


class Meter:
    """One limit, for any number of keys."""

    __slots__ = ("_full_at", "_interval", "_room")

    def __init__(self, capacity: float, interval: float) -> None:
        self._interval = interval
        self._room = capacity * interval
        self._full_at: dict[str, float] = {}

    def missing(self, key: str, at: float, tokens: int = 1) -> float:
        """Returns the seconds until so many tokens are there, 0 or less when they are."""
        full_at = self._full_at.get(key)
        return 0.0 if full_at is None else max(full_at, at) + tokens * self._interval - self._room - at - _SLACK

    def take(self, key: str, at: float, tokens: int = 1) -> None:
        """Counts."""
        self._full_at[key] = max(self._full_at.get(key, at), at) + tokens * self._interval

    def take_if_there(self, key: str, at: float, tokens: int = 1) -> bool:
        """Counts if so many tokens are there; returns whether they are."""
        full_at = max(self._full_at.get(key, at), at) + tokens * self._interval
        if full_at - self._room - at > _SLACK:
            return False
        self._full_at[key] = full_at
        return True

    def reset(self, key: str) -> None:
        """Forgets what was counted."""
        self._full_at.pop(key, None)


class Issued:
    """A certificate as the CA knows it. `announced` is whether it is part of a mass revocation.

    It is the answer to polls about it as well: with `start` and `end` of its renewal window it has the fields of the port's `RenewalInfo`.
    """

    __slots__ = ("announced", "end", "name", "not_after", "not_before", "replaced", "serial", "start")

    explanation_url = ""
    retry_after = _RETRY_AFTER

    def __init__(self, serial: int, name: str, not_before: datetime, not_after: datetime, start: datetime, end: datetime) -> None:
        self.serial = serial
        self.name = name
        self.not_before = not_before
        self.not_after = not_after
        self.start = start
        self.end = end
        self.replaced = self.announced = False


class Order:
    """An order at the CA: `pending`, `ready`, `valid` or `invalid`."""

    __slots__ = ("certificate", "exempt", "name", "placed_at", "replaces", "status")

    def __init__(self, name: str, placed_at: datetime, replaces: Issued | None, *, exempt: bool) -> None:
        self.name = name
        self.placed_at = placed_at
        self.replaces = replaces
        self.exempt = exempt
        self.status = "pending"
        self.certificate: Issued | None = None


class VirtualCa:
    """See the module. Every call raises `AcmeUnreachable` during an outage, and `AcmeError` where Let's Encrypt would refuse."""

    directory_url = "https://ca.example/directory"
    account_url = "https://ca.example/acct/1"
    order_life = timedelta(hours=8)

    def __init__(self, lifetime: timedelta, start: datetime, outages: tuple[Outage, ...]) -> None:
        self._start = start
        self._outages = sorted((outage.start, outage.end) for outage in outages)
        self._well_until = self._outages[0][0] if self._outages else datetime.max.replace(tzinfo=start.tzinfo)
        self._validity = lifetime - _SECOND
        middle = lifetime / 2 if lifetime < timedelta(days=10) else lifetime * (2 / 3)
        self._opens, self._closes = middle - lifetime / 100, middle + lifetime / 100
        self._orders = Meter(300, 36)
        self._registered_domains = Meter(50, 12_096)
        self._name_sets = Meter(5, 120_960)
        self._failures = Meter(5, 720)
        self._failures_in_a_row = Meter(1_152, 86_400)
        self._other_requests = Meter(125, 1 / 250)
        self._paused: set[str] = set()
        self._issued: dict[int, Issued] = {}
        self._serial = 1 << 62
        self.refused: Counter[str] = Counter()
        self.orders = self.exempt_orders = self.certificates = self.polls = self.unanswered = 0

    def is_well_until(self, at: datetime) -> bool:
        """Returns whether the CA answers everything up to a time."""
        return at < self._well_until

    def adopt(self, name: str, issue_time: datetime) -> Issued:
        """Issues without an order: what was issued before the beginning."""
        self._serial += 1
        not_before = issue_time - _BACKDATED
        issued = self._issued[self._serial] = Issued(
            self._serial, name, not_before, not_before + self._validity, not_before + self._opens, not_before + self._closes
        )
        return issued

    def forget(self, serial: int) -> None:
        """Nobody will ask about the certificate any more. It saves memory here, as expired ones do there."""
        self._issued.pop(serial, None)

    def announce(self, serial: int, revocation: MassRevocation) -> None:
        """Makes a certificate part of a mass revocation."""
        issued = self._issued[serial]
        issued.announced = True
        if revocation.window_open:
            issued.start, issued.end = revocation.start, revocation.start + revocation.notice / 2
        else:
            issued.start, issued.end = revocation.start - 2 * _BACKDATED, revocation.start - _BACKDATED

    def new_order(self, name: str, replaces: str | Issued, at: datetime) -> Order:
        """Places an order (RFC 8555 section 7.4). `replaces` is the identifier of a certificate, or the certificate itself, or empty."""
        if at >= self._well_until:
            self._answer(at)
        seconds = (at - self._start).total_seconds()
        # The limit of newOrder itself (300 a second, 200 at once) can only be reached beyond that of the six requests which each brings.
        # Those that belong to the order are taken in one go: a little stricter than one by one.
        if not self._other_requests.take_if_there("", seconds, _REQUESTS_BESIDE_NEW_ORDER):
            raise self._refuse("requests a second", "rateLimited", "too many requests", 1.0, 503)
        if name in self._paused or self._failures_in_a_row.missing(name, seconds) > 0:
            self._paused.add(name)
            raise self._refuse("consecutive failures", "rateLimited", f"{name} is paused: see https://ca.example/unpause", None)
        replaced, exempt = None, False
        if replaces:
            replaced = self._replaced(replaces, name)
            exempt = replaced.start <= at < replaced.end
        if not exempt:
            self._enforce(name, seconds)
            self._orders.take("", seconds)
        self.orders += 1
        self.exempt_orders += exempt
        order = Order(name, at, replaced, exempt=exempt)
        if replaced is not None:
            replaced.replaced = True
        return order

    def answer(self, order: Order, at: datetime, *, reaches: bool) -> None:
        """Validates the challenge at once; `reaches` is whether the name answers as it should."""
        if at >= self._well_until:
            self._answer(at)
        if reaches:
            order.status = "ready"
            self._failures_in_a_row.reset(order.name)
            return
        order.status = "invalid"
        if order.replaces is not None:
            order.replaces.replaced = False
        seconds = (at - self._start).total_seconds()
        self._failures.take(order.name, seconds)
        self._failures_in_a_row.take(order.name, seconds)

    def read(self, order: Order, at: datetime) -> str:
        """Returns the order's status."""
        self._answer(at)
        if order.status in {"pending", "ready"} and at - order.placed_at >= self.order_life:
            order.status = "expired"
            if order.replaces is not None:
                order.replaces.replaced = False
        return order.status

    def finalize(self, order: Order, at: datetime) -> None:
        """Issues."""
        if at >= self._well_until:
            self._answer(at)
        order.status = "valid"
        order.certificate = self.adopt(order.name, at)
        self.certificates += 1
        if not order.exempt:
            seconds = (at - self._start).total_seconds()
            self._registered_domains.take(_registered_domain(order.name), seconds)
            self._name_sets.take(order.name, seconds)

    def renewal_info(self, issued: Issued, at: datetime) -> RenewalInfo:
        """Returns the renewal window (RFC 9773 section 4.2): good until the next question."""
        self.polls += 1
        if at >= self._well_until:
            self._answer(at)
        return cast("RenewalInfo", issued)

    def _replaced(self, replaces: str | Issued, name: str) -> Issued:
        if isinstance(replaces, Issued):
            serial = replaces.serial
        else:
            serial = int.from_bytes(base64.urlsafe_b64decode(replaces.partition(".")[2] + "=="), "big")
        issued = self._issued.get(serial)
        if issued is None or issued.name != name:
            raise self._refuse("replaces", "malformed", "no such certificate", None, 404)
        if issued.replaced:
            raise self._refuse("replaces", "alreadyReplaced", "the certificate has been replaced already", None, 409)
        return issued

    def _enforce(self, name: str, seconds: float) -> None:
        domain = _registered_domain(name)
        for limit, missing, detail in (
            ("new orders", self._orders.missing("", seconds), "too many new orders (300) from this account in the last 3h0m0s"),
            (
                "registered domain",
                self._registered_domains.missing(domain, seconds),
                f"too many certificates (50) already issued for {domain} in the last 168h0m0s",
            ),
            (
                "set of names",
                self._name_sets.missing(name, seconds),
                f"too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s: {name}",
            ),
            ("failures", self._failures.missing(name, seconds), f"too many failed authorizations (5) for {name} in the last 1h0m0s"),
        ):
            if missing > 0:
                raise self._refuse(limit, "rateLimited", detail, missing)

    def _refuse(self, limit: str, type_: str, detail: str, retry_after: float | None, status: int = 429) -> AcmeError:
        self.refused[limit] += 1
        return AcmeError(AcmeProblem(_ACME + type_, detail, status, retry_after))

    def _answer(self, at: datetime) -> None:
        if at < self._well_until:
            return
        for start, end in self._outages:
            if start <= at < end:
                self.unanswered += 1
                raise AcmeUnreachable("connection refused", sent=False)
        # Requests come nearly in the order of time.
        self._outages = [(start, end) for start, end in self._outages if at < end + _BACKDATED]
        if self._outages and at >= self._outages[0][1]:
            return
        self._well_until = self._outages[0][0] if self._outages else datetime.max.replace(tzinfo=at.tzinfo)


def _registered_domain(name: str) -> str:
    return ".".join(name.split(".")[-2:])
