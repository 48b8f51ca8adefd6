"""Which limits an order, a failure or a refusal has to do with."""

from dataclasses import replace

import pytest

from controlplane.adapters.ca_profiles import load_profile, profile_for
from controlplane.core.ca_profile import CaProfile, Scope
from controlplane.core.limit_reason import limit_reason
from controlplane.core.order_limits import (
    Lesson,
    LimitDraw,
    LimitedBucket,
    account_draws,
    failed_authorization,
    lesson,
    order_draws,
    registration_draws,
    shown_buckets,
    spent_without_certificate,
    succeeded_authorization,
)
from controlplane.core.ports import AcmeProblem
from controlplane.core.token_bucket import LONGEST_WAIT, SECOND

LE, UNKNOWN = load_profile("letsencrypt"), profile_for("https://ca.example/directory")
ACCOUNT, OTHER_ACCOUNT = "https://ca.example/acct/1", "https://ca.example/acct/2"
NAMES = ("www.shop.example.com", "shop.example.com", "shop.example.co.uk")
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND


def rows(draws: tuple[LimitDraw, ...]) -> list[tuple[str, str, int, int]]:
    """Limit, subject, tokens needed and most to take."""
    return [(each.limited.limit.name, each.limited.subject, each.draw.need, each.draw.most) for each in draws]


def subjects(limited: tuple[LimitedBucket, ...]) -> list[tuple[str, str]]:
    """Limit and subject."""
    return [(each.limit.name, each.subject) for each in limited]


def test_what_a_new_order_takes() -> None:
    """An order counts once by account, registered domain and set; of failures it asks that one more is allowed for every name."""
    names = sorted(NAMES)
    assert [
        ("new-orders-per-account", "", 1, 1),
        ("certificates-per-registered-domain", "example.co.uk", 1, 1),
        ("certificates-per-registered-domain", "example.com", 1, 1),
        ("certificates-per-name-set", "", 1, 1),
        *(("failed-authorizations-per-name", name, 1, 0) for name in names),
        *(("consecutive-failures-per-name", name, 1, 0) for name in names),
    ] == rows(order_draws(LE, NAMES, ACCOUNT, replacing=False))


def test_what_a_replacement_takes() -> None:
    """An order that replaces a certificate in time takes nothing and only heeds blocks, except of the row of failures."""
    needs = {(limit, need, most) for limit, _, need, most in rows(order_draws(LE, NAMES, ACCOUNT, replacing=True))}
    assert {
        ("new-orders-per-account", 0, 0),
        ("certificates-per-registered-domain", 0, 0),
        ("certificates-per-name-set", 0, 0),
        ("failed-authorizations-per-name", 0, 0),
        ("consecutive-failures-per-name", 1, 0),
    } == needs


def test_unknown_ca_has_only_refusals() -> None:
    """A CA without known limits takes nothing, but what it refused is waited for in every scope."""
    assert [
        ("refusals-by-account", "", 1, 0),
        ("refusals-by-registered-domain", "example.com", 1, 0),
        ("refusals-by-name-set", "", 1, 0),
        ("refusals-by-name", "shop.example.com", 1, 0),
    ] == rows(order_draws(UNKNOWN, ["shop.example.com"], ACCOUNT, replacing=True))


def test_each_bucket_is_drawn_from_once() -> None:
    """Whatever names are repeated, no bucket is in an order twice: the store could not take from it twice in one step."""
    keys = [each.draw.bucket.key for each in order_draws(LE, [*NAMES, *NAMES], ACCOUNT, replacing=False)]
    assert len(keys) == len(set(keys)) == 4 + 6


@pytest.mark.parametrize(
    ("scope", "shared_by_order", "shared_by_account"),
    [
        (Scope.ACCOUNT, True, False),
        (Scope.REGISTERED_DOMAIN, True, True),
        (Scope.NAME_SET, False, True),
        (Scope.NAME, False, False),
    ],
)
def test_what_shares_a_bucket(scope: Scope, shared_by_order: bool, shared_by_account: bool) -> None:
    """Orders of an account share its bucket, those for a registered domain its; failures count by name and account."""

    def keys(names: list[str], account: str) -> set[str]:
        draws = order_draws(LE, names, account, replacing=False)
        return {each.draw.bucket.key for each in draws if each.limited.limit.scope is scope}

    first = keys(["a.example.com"], ACCOUNT)
    assert shared_by_order is (first == keys(["b.example.com"], ACCOUNT))
    assert shared_by_account is (first == keys(["a.example.com"], OTHER_ACCOUNT))


def test_set_of_names_has_no_order() -> None:
    """The same names in another order are the same set; one name more is another."""

    def key(*names: str) -> str:
        (found,) = [
            each.draw.bucket.key for each in order_draws(LE, names, ACCOUNT, replacing=False) if each.limited.limit.scope is Scope.NAME_SET
        ]
        return found

    assert key("a.example", "b.example") == key("b.example", "a.example") != key("a.example")


def test_registered_domain_is_the_customers() -> None:
    """Below a public suffix of the private section, each customer has a registered domain of his own."""
    draws = order_draws(LE, ["one.github.io", "two.github.io"], ACCOUNT, replacing=False)
    found = {each.limited.subject for each in draws if each.limited.limit.scope is Scope.REGISTERED_DOMAIN}
    assert {"one.github.io", "two.github.io"} == found


def test_registration() -> None:
    """A new account counts by address only."""
    expected = [("registrations-per-address", "", 1, 1), ("registrations-per-ipv6-range", "", 1, 1)]
    assert expected == rows(registration_draws(LE))
    assert [("refusals-by-address", "", 1, 0)] == rows(registration_draws(UNKNOWN))


@pytest.mark.parametrize(
    ("profile", "replacing", "expected"),
    [
        (LE, False, [("certificates-per-registered-domain", "example.com"), ("certificates-per-name-set", "")]),
        (LE, True, []),
        (UNKNOWN, False, []),
    ],
)
def test_without_a_certificate(profile: CaProfile, replacing: bool, expected: list[tuple[str, str]]) -> None:
    """An order that got no certificate did not use up what counts certificates; the order itself counts."""
    assert expected == subjects(spent_without_certificate(profile, ["a.example.com"], ACCOUNT, replacing=replacing))


def test_failures_and_successes() -> None:
    """A failed authorization counts in both limits of failures, a success ends the row."""
    hourly, row = ("failed-authorizations-per-name", "a.example.com"), ("consecutive-failures-per-name", "a.example.com")
    assert [hourly, row] == subjects(failed_authorization(LE, ["a.example.com"], ACCOUNT))
    assert [row] == subjects(succeeded_authorization(LE, ["a.example.com"], ACCOUNT))
    assert [] == subjects(failed_authorization(UNKNOWN, ["a.example.com"], ACCOUNT))


def test_what_a_status_page_shows() -> None:
    """Without names only what bounds the deployment, with names all that bounds an order for them, never stand-ins."""
    whole = ["new-orders-per-account", "registrations-per-address", "registrations-per-ipv6-range"]
    assert whole == [limit for limit, _ in subjects(shown_buckets(LE, (), ACCOUNT))]
    assert {each.name for each in LE.limits} == {limit for limit, _ in subjects(shown_buckets(LE, ["a.example.com"], ACCOUNT))}
    assert () == shown_buckets(UNKNOWN, ["a.example.com"], ACCOUNT)
    assert [("new-orders-per-account", "", 1, 1)] == rows(account_draws(LE, ACCOUNT))
    assert () == account_draws(UNKNOWN, ACCOUNT)


def refused(detail: str, retry_after: float | None = 90.0) -> AcmeProblem:
    """A refusal for a limit."""
    return AcmeProblem("urn:ietf:params:acme:error:rateLimited", detail, 429, retry_after)


AFTER = "retry after 2026-11-26 12:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/"
ORDERS = f"too many new orders (300) from this account in the last 3h0m0s, {AFTER}"
DOMAIN = f'too many certificates (50) already issued for "example.co.uk" in the last 168h0m0s, {AFTER}'
SET = f"too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, {AFTER}"
FAILED = f'too many failed authorizations (5) for "shop.example.com" in the last 1h0m0s, {AFTER}'
REGISTERED = f"too many new registrations (10) from this IP address in the last 3h0m0s, {AFTER}"
PAUSED = (
    "Your account is temporarily prevented from requesting certificates for shop.example.com, www.shop.example.com and possibly others."
    " Please visit: https://portal.letsencrypt.org/sfe/v1/unpause?jwt=x"
)


@pytest.mark.parametrize(
    ("detail", "retry_after", "expected", "wait"),
    [
        (ORDERS, 90.0, [("new-orders-per-account", "")], 90 * SECOND),
        (DOMAIN, 90.0, [("certificates-per-registered-domain", "example.co.uk")], 90 * SECOND),
        (SET, 90.0, [("certificates-per-name-set", "")], 90 * SECOND),
        (FAILED, 90.0, [("failed-authorizations-per-name", "shop.example.com")], 90 * SECOND),
        (REGISTERED, 90.0, [("registrations-per-address", ""), ("registrations-per-ipv6-range", "")], 90 * SECOND),
        # A name that the text does not tell: all of them.
        (
            'too many certificates (50) already issued for "else.example"',
            90.0,
            [("certificates-per-registered-domain", "example.co.uk"), ("certificates-per-registered-domain", "example.com")],
            90 * SECOND,
        ),
        # Without a Retry-After the time in which a token comes, and a minute at least.
        (ORDERS, None, [("new-orders-per-account", "")], 60 * SECOND),
        (DOMAIN, None, [("certificates-per-registered-domain", "example.co.uk")], 12_096 * SECOND),
        (SET, None, [("certificates-per-name-set", "")], 120_960 * SECOND),
        (
            PAUSED,
            None,
            [("consecutive-failures-per-name", "shop.example.com"), ("consecutive-failures-per-name", "www.shop.example.com")],
            DAY,
        ),
        # Fractions are rounded up, nothing is waited for at once, and no CA stops us for years.
        (ORDERS, 1.0000001, [("new-orders-per-account", "")], SECOND + 1),
        (ORDERS, 0.0, [("new-orders-per-account", "")], SECOND),
        (ORDERS, 1e30, [("new-orders-per-account", "")], LONGEST_WAIT),
    ],
)
def test_lessons(detail: str, retry_after: float | None, expected: list[tuple[str, str]], wait: int) -> None:
    """Let's Encrypt's texts say which limit it is and for whom; that bucket is empty until the CA's time."""
    found = lesson(LE, refused(detail, retry_after), NAMES, ACCOUNT, replacing=False)
    assert found is not None
    assert (expected, wait, 0) == (subjects(found.limited), found.empty_for, found.blocked_for)


@pytest.mark.parametrize(("retry_after", "wait"), [(90.0, 90 * SECOND), (None, 60 * SECOND)])
@pytest.mark.parametrize("profile", [LE, UNKNOWN])
def test_unknown_text_holds_the_account(profile: CaProfile, retry_after: float | None, wait: int) -> None:
    """A limit that nobody has heard of blocks the account, and tells nothing of how many tokens there are."""
    found = lesson(profile, refused("too much of something", retry_after), NAMES, ACCOUNT, replacing=False)
    assert isinstance(found, Lesson)
    assert (0, wait) == (found.empty_for, found.blocked_for)
    assert [Scope.ACCOUNT] == [each.limit.scope for each in found.limited]


@pytest.mark.parametrize(
    ("detail", "scope", "count"),
    [
        (ORDERS, Scope.ACCOUNT, 1),
        (DOMAIN, Scope.REGISTERED_DOMAIN, 1),
        (SET, Scope.NAME_SET, 1),
        (FAILED, Scope.NAME, 1),
        (PAUSED, Scope.NAME, 2),
        (REGISTERED, Scope.ADDRESS, 1),
    ],
)
def test_lessons_of_an_unknown_ca(detail: str, scope: Scope, count: int) -> None:
    """Where the profile has no such limit, the refusal holds what it is about, and no more, just as orders ask for it."""
    found = lesson(UNKNOWN, refused(detail), NAMES, ACCOUNT, replacing=False)
    assert found is not None
    assert [scope] * count == [each.limit.scope for each in found.limited]
    asked = {each.draw.bucket.key for each in (*order_draws(UNKNOWN, NAMES, ACCOUNT, replacing=False), *registration_draws(UNKNOWN))}
    assert {each.bucket.key for each in found.limited} <= asked


@pytest.mark.parametrize(("detail", "blocked"), [(ORDERS, 90 * SECOND), (DOMAIN, 90 * SECOND), (PAUSED, 0)])
def test_refused_exemption_holds_replacements_too(detail: str, blocked: int) -> None:
    """A refusal although the order should have been exempt blocks the bucket: those exempt do not look at its tokens."""
    found = lesson(LE, refused(detail), NAMES, ACCOUNT, replacing=True)
    assert found is not None
    assert (90 * SECOND, blocked) == (found.empty_for, found.blocked_for)


@pytest.mark.parametrize("type_", ["urn:ietf:params:acme:error:unauthorized", "rateLimited", "about:blank"])
def test_other_refusals_teach_nothing(type_: str) -> None:
    """Only `rateLimited` is about limits."""
    assert None is lesson(LE, AcmeProblem(type_, ORDERS, 429, 90.0), NAMES, ACCOUNT, replacing=False)


def test_refusal_without_names() -> None:
    """A refusal of something that has no names holds no name, and does not fail."""
    found = lesson(LE, refused(FAILED), (), ACCOUNT, replacing=False)
    assert found is not None
    assert () == found.limited


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        (
            LE,
            [
                "Let's Encrypt's limit of 300 new orders for our account in 3 hours",
                "Let's Encrypt's limit of 50 certificates for example.com in 7 days",
                "Let's Encrypt's limit of 5 certificates for exactly these names in 7 days",
                "Let's Encrypt's limit of 5 failed authorizations for www.example.com in 1 hour",
                "Let's Encrypt's limit of 1,152 failed authorizations in a row for www.example.com",
            ],
        ),
        (
            UNKNOWN,
            [
                f"ca.example refused an order for {whom}, and it is not time yet to ask again"
                for whom in ("our account", "example.com", "exactly these names", "www.example.com")
            ],
        ),
    ],
)
def test_reasons(profile: CaProfile, expected: list[str]) -> None:
    """People read which limit it is, whom it is about, and in what time it counts."""
    draws = order_draws(profile, ["www.example.com"], ACCOUNT, replacing=False)
    assert expected == [limit_reason(profile.title, each.limited) for each in draws]


@pytest.mark.parametrize(
    ("capacity", "interval", "expected"),
    [
        (1, 86_400 * SECOND, "1 new order for our account in 1 day"),
        (2, 45 * SECOND, "2 new orders for our account in 90 seconds"),
        (1, 1_500_000, "1 new order for our account in 1.500 seconds"),
        (2000, 180 * SECOND, "2,000 new orders for our account in 100 hours"),
    ],
)
def test_durations(capacity: int, interval: int, expected: str) -> None:
    """A time is told in the largest unit that tells it exactly."""
    (draw,) = account_draws(LE, ACCOUNT)
    limit = replace(draw.limited.limit, capacity=capacity, interval=interval)
    assert f"Let's Encrypt's limit of {expected}" == limit_reason("Let's Encrypt", replace(draw.limited, limit=limit))
