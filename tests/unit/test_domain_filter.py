"""The filter language of ListDomains."""

import contextlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.domain_filter import MAX_FILTER_LENGTH, parse_domain_filter
from controlplane.core.errors import InvalidArgument
from controlplane.core.managed_domain import Domain, DomainSpec, DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.sealing import Scheme

EXPIRY = datetime(2027, 1, 31, tzinfo=UTC)


def domain(*, tenant: str = "acme", state: DomainState = DomainState.ACTIVE, expire_time: datetime | None = EXPIRY) -> Domain:
    """Returns a domain with what filters look at."""
    spec = DomainSpec(DomainName("shop.example.com"), "0" * 32, datetime(2026, 1, 1, tzinfo=UTC), tenant)
    return Domain(
        spec, DomainStatus(state=state, expire_time=expire_time, certificate_authority="letsencrypt"), 1, Scheme.RSA_OAEP_AES256GCM
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("   ", True),
        ('tenant = "acme"', True),
        ("tenant = 'acme'", True),
        ("tenant=acme", True),
        ('tenant = "Acme"', False),
        ('tenant != "acme"', False),
        ('tenant != "other"', True),
        ('tenant = ""', False),
        (r'tenant = "ac\me"', True),
        ("state = ACTIVE", True),
        ("state = STATE_ACTIVE", True),
        ('state = "ACTIVE"', True),
        ("state != ACTIVE", False),
        ("state = PENDING", False),
        ("state != PENDING AND state != FAILED", True),
        ('expire_time < "2027-02-01T00:00:00Z"', True),
        ('expire_time < "2027-01-31T00:00:00Z"', False),
        ('expire_time <= "2027-01-31T00:00:00Z"', True),
        ('expire_time > "2027-01-30T23:59:59.5Z"', True),
        ('expire_time >= "2027-01-31T01:00:00+01:00"', True),
        ('expire_time > "2027-01-31T01:00:00+01:00"', False),
        ('expire_time < "2027-02-01t00:00:00z"', True),
        ('tenant = "acme" AND state = ACTIVE AND expire_time < "2027-02-01T00:00:00Z"', True),
        ('tenant = "acme" AND state = FAILED', False),
        ('tenant="acme"AND state=ACTIVE', True),
        ("scheme = RSA_OAEP_AES256GCM", True),
        ("scheme != RSA_OAEP_AES256GCM", False),
        ("scheme = HPKE_X25519", False),
        ("certificate_authority = letsencrypt", True),
        ("certificate_authority != letsencrypt", False),
        ("certificate_authority != zerossl", True),
        ("domain = shop.example.com", True),
        ('domain = "domains/SHOP.example.com"', True),
        ("domain = other.example.com", False),
    ],
)
def test_matches(text: str, expected: bool) -> None:
    """A domain meets a filter when it meets each of its terms."""
    assert expected == parse_domain_filter(text).matches(domain())


@pytest.mark.parametrize("comparison", ["<", "<=", ">", ">="])
def test_unset_expiry_meets_nothing(comparison: str) -> None:
    """A domain without a certificate meets no comparison of its expiry."""
    found = parse_domain_filter(f'expire_time {comparison} "2027-01-31T00:00:00Z"').matches(domain(expire_time=None))
    assert found is False


@pytest.mark.parametrize(
    ("text", "position", "fault"),
    [
        ("owner = acme", 1, "expected tenant, state, scheme, expire_time, certificate_authority or domain"),
        ("tenant", 7, "expected one of = !="),
        ("tenant =", 9, "expected a value, found the end"),
        ("tenant < acme", 8, "expected one of = !="),
        ("tenant = = acme", 10, "expected a value"),
        ("tenant = acme state = ACTIVE", 15, "expected AND"),
        ("tenant = acme and state = ACTIVE", 15, "expected AND"),
        ("tenant = acme OR state = ACTIVE", 15, "expected AND"),
        ("tenant = acme AND", 18, "expected a term, found the end"),
        ("AND tenant = acme", 1, "expected tenant, state, scheme, expire_time, certificate_authority or domain"),
        ("state = RUNNING", 9, "expected one of PENDING, ACTIVE"),
        ("state = active", 9, "expected one of PENDING, ACTIVE"),
        ("state > ACTIVE", 7, "expected one of = !="),
        ('expire_time = "2027-01-31T00:00:00Z"', 13, "expected one of < <= > >="),
        ("expire_time < 2027-01-31", 15, "RFC 3339"),
        ('expire_time < "2027-01-31"', 15, "RFC 3339"),
        ('expire_time < "2027-01-31T00:00:00"', 15, "RFC 3339"),
        ('expire_time < "2027-02-30T00:00:00Z"', 15, "RFC 3339"),
        ('expire_time < "0001-01-01T00:00:00+23:59"', 15, "RFC 3339"),
        ('expire_time < "٢٠٢٧-01-31T00:00:00Z"', 15, "RFC 3339"),
        ('tenant = "acme', 10, "not closed"),
        ("tenant = (acme)", 10, "unexpected '('"),
        ("tenant = ac\x00me", 12, r"unexpected '\x00'"),
        ("tenant ! acme", 8, "unexpected '!'"),
    ],
)
def test_refuses(text: str, position: int, fault: str) -> None:
    """A bad filter is refused with the position of the fault and an example of how to write it."""
    with pytest.raises(InvalidArgument) as caught:
        parse_domain_filter(text)
    (violation,) = caught.value.violations
    assert violation.field == "filter"
    assert violation.description.startswith(f"position {position}: ")
    assert fault in violation.description
    assert "for example: " in violation.description


def test_refuses_long_filters() -> None:
    """A filter beyond the limit is refused before it is read."""
    with pytest.raises(InvalidArgument):
        parse_domain_filter(" " * (MAX_FILTER_LENGTH + 1))


def test_example_is_valid() -> None:
    """The example that a refusal gives is itself a filter."""
    with pytest.raises(InvalidArgument) as caught:
        parse_domain_filter("?")
    example = caught.value.violations[0].description.partition("for example: ")[2]
    assert len(parse_domain_filter(example).terms) == 3


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('tenant = "acme" AND state = ACTIVE', "state=STATE_ACTIVE   AND tenant='acme'", True),
        ('expire_time < "2027-01-31T01:00:00+01:00"', 'expire_time < "2027-01-31T00:00:00Z"', True),
        ("state = ACTIVE", "state != ACTIVE", False),
        ("tenant = a", "tenant = b", False),
        ("tenant = 'a AND tenant = b'", "tenant = a AND tenant = b", False),
    ],
)
def test_canonical(one: str, other: str, same: bool) -> None:
    """Two filters have the same canonical text just when they mean the same."""
    assert same == (parse_domain_filter(one).canonical == parse_domain_filter(other).canonical)


@given(st.text(alphabet=st.sampled_from("tenant state=!<>\"'\\ANDexpire_time27:-TZ\n\u00e9"), max_size=80))
def test_never_fails_otherwise(text: str) -> None:
    """Whatever the text is, it is a filter or it is refused as an invalid argument."""
    with contextlib.suppress(InvalidArgument):
        assert parse_domain_filter(text).matches(domain()) in {True, False}


def test_a_domain_without_a_certificate_meets_no_scheme() -> None:
    """Nothing is sealed for it, so neither equal nor unequal holds."""
    without = Domain(domain().spec, DomainStatus(), 1)
    assert not parse_domain_filter("scheme = HPKE_X25519").matches(without)
    assert not parse_domain_filter("scheme != HPKE_X25519").matches(without)


def test_a_scheme_that_does_not_exist_is_refused() -> None:
    """A misspelt scheme is told apart from one that nothing is sealed by."""
    with pytest.raises(InvalidArgument, match="expected one of HPKE_X25519"):
        parse_domain_filter("scheme = ROT13")


@pytest.mark.parametrize("text", ["certificate_authority = letsencrypt", "certificate_authority != letsencrypt"])
def test_a_domain_without_a_certificate_meets_no_authority(text: str) -> None:
    """Where nobody has issued anything, nothing is known to compare with."""
    without = replace(domain(), status=replace(domain().status, certificate_authority=""))
    assert not parse_domain_filter(text).matches(without)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("tenant = acme", None),
        ("domain = a.example.com", "a.example.com"),
        ("tenant = x AND domain = A.example.com", "a.example.com"),
    ],
)
def test_only_domain(text: str, expected: str | None) -> None:
    """A filter that names a domain can be met by that one only, so that nothing else need be read."""
    assert expected == parse_domain_filter(text).only_domain
