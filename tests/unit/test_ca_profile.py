"""Profiles of CAs: what their files say, and what is not understood."""

from datetime import date
from pathlib import Path

import pytest

from controlplane.adapters.ca_profiles import built_in_profiles, load_profile, profile_for
from controlplane.core import ca_profile
from controlplane.core.ca_profile import CaProfile, Counts, OrderLimit, RequestRate, Scope, parse_ca_profile
from controlplane.core.errors import ConfigurationError
from controlplane.core.token_bucket import SECOND

HEAD = 'name = "mine"\nfigures = 2026-08-01\n'
LIMIT = 'name = "orders"\nscope = "ACCOUNT"\ncounts = "ORDERS"\ncapacity = 3\nrefill_seconds = 10\n'
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND


def test_whole_profile() -> None:
    """Every field of a file comes into the profile."""
    text = f"""
        {HEAD}
        title = "My CA"
        hosts = ["ACME.example", "other.example"]
        caa_identities = ["ca.example"]
        most_names = {{ unstated = 10, tiny = 1 }}
        [[limit]]
        {LIMIT}
        exempt_by_ari = true
        [[limit]]
        name = "failures"
        scope = "NAME"
        counts = "FAILED_AUTHORIZATIONS"
        capacity = 1
        refill_seconds = 0.25
        [requests.new_order]
        per_second = 2.5
        burst = 4
    """
    expected = CaProfile(
        name="mine",
        title="My CA",
        figures=date(2026, 8, 1),
        hosts=frozenset({"acme.example", "other.example"}),
        caa_identities=("ca.example",),
        most_names={"unstated": 10, "tiny": 1},
        limits=(
            OrderLimit("orders", Scope.ACCOUNT, Counts.ORDERS, 3, 10 * SECOND, exempt_by_ari=True),
            OrderLimit("failures", Scope.NAME, Counts.FAILED_AUTHORIZATIONS, 1, 250_000),
        ),
        requests={"new_order": RequestRate(2.5, 4)},
    )
    assert expected == parse_ca_profile(text, "mine.toml")


def test_documented_example() -> None:
    """The example in the module's documentation is a profile."""
    lines = (ca_profile.__doc__ or "").splitlines()
    example = "\n".join(line[4:] for line in lines if line.startswith("    "))
    profile = parse_ca_profile(example, "the example")
    assert ("Example CA", 25, 50) == (profile.title, profile.most_names_for("new"), profile.limits[0].capacity)


def test_least_profile() -> None:
    """A name and a date are enough: a CA without limits, called by its name."""
    assert CaProfile("mine", "mine", date(2026, 8, 1)) == parse_ca_profile(HEAD, "mine.toml")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name", "the CA profile mine.toml is not TOML"),
        ("", "mine.toml: name is not a text"),
        ("name = 1", "name is not a text"),
        ('name = ""', "name is not a text"),
        ('name = "My CA"', "name is 'My CA'"),
        ('name = "mine"', "figures is not a date"),
        ('name = "mine"\nfigures = "2026-08-01"', "figures is not a date"),
        ('name = "mine"\nfigures = 2026-08-01T00:00:00', "figures is not a date"),
        (HEAD + "limits = []", "mine.toml has 'limits', which is not understood"),
        (HEAD + "title = 1", "title is not a text"),
        (HEAD + 'hosts = "ca.example"', "hosts is not a list of texts"),
        (HEAD + "hosts = [1]", "hosts is not a list of texts"),
        (HEAD + 'caa_identities = [""]', "caa_identities is not a list of texts"),
        (HEAD + "most_names = 25", "most_names is not a table"),
        (HEAD + "most_names = { tiny = 0 }", "most_names: tiny is not a whole number from 1"),
        (HEAD + "most_names = { tiny = true }", "most_names: tiny is not a whole number from 1"),
        (HEAD + "limit = 1", "limit is not a list of tables"),
        (HEAD + "limit = [1]", "limit 1 is not a table"),
        (HEAD + "[[limit]]\nwindow = 1", "limit 1 has 'window', which is not understood"),
        (HEAD + "[[limit]]\ncapacity = 1", "limit 1: name is not a text"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("orders", "new orders"), "limit 1: name is 'new orders'"),
        (HEAD + "[[limit]]\n" + LIMIT.replace('"ORDERS"', '"orders"'), "limit 1: counts is 'orders'; here it can be CERTIFICATES,"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("ACCOUNT", "AUTHORITY"), "limit 1: scope is 'AUTHORITY'; here it can be ACCOUNT,"),
        (HEAD + "[[limit]]\n" + LIMIT.replace('"ACCOUNT"', "1"), "limit 1: scope is 1"),
        (
            HEAD + "[[limit]]\n" + LIMIT.replace("ORDERS", "FAILED_AUTHORIZATIONS"),
            "limit 1: scope is 'ACCOUNT'; here it can be NAME",
        ),
        (HEAD + "[[limit]]\n" + LIMIT.replace("capacity = 3", "capacity = 0"), "limit 1: capacity is not a whole number from 1"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("capacity = 3", "capacity = 3.0"), "limit 1: capacity is not a whole number from 1"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("= 10", "= 0"), "limit 1: refill_seconds is not a number above 0"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("= 10", "= nan"), "limit 1: refill_seconds is not a number above 0"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("= 10", "= inf"), "limit 1: refill_seconds is not a number above 0"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("= 10", "= 1e-9"), "limit 1: refill_seconds is out of range"),
        (HEAD + "[[limit]]\n" + LIMIT.replace("= 10", "= 200000000"), "limit 1: refill_seconds is out of range"),
        (HEAD + "[[limit]]\n" + LIMIT + "exempt_by_ari = 1", "limit 1: exempt_by_ari is neither true nor false"),
        (HEAD + "[[limit]]\n" + LIMIT + "[[limit]]\n" + LIMIT, "limit 2: name is 'orders', which another limit has already"),
        (HEAD + "requests = 1", "requests is not a table"),
        (HEAD + "[requests]\nnew_order = 1", "requests.new_order is not a table"),
        (HEAD + "[requests.newOrder]\nper_second = 1\nburst = 1", "requests.newOrder is no endpoint"),
        (HEAD + "[requests.other]\nper_second = 1", "requests.other: burst is not a whole number from 1"),
        (HEAD + "[requests.other]\nper_second = 0\nburst = 1", "requests.other: per_second is not a number above 0"),
        (HEAD + "[requests.other]\nper_second = 1e6\nburst = 1", "requests.other is out of range"),
        (HEAD + "[requests.other]\nper_second = 1\nburst = 1\nrate = 1", "requests.other has 'rate', which is not understood"),
    ],
)
def test_what_is_not_understood(text: str, part: str) -> None:
    """A file with anything that is not understood is refused, and the text says which key it is."""
    with pytest.raises(ConfigurationError) as caught:
        parse_ca_profile(text, "mine.toml")
    assert part in str(caught.value)


def test_figures_of_lets_encrypt() -> None:
    """The built-in profile has Let's Encrypt's limits as its documentation of August 2026 has them."""
    profile = load_profile("letsencrypt")
    expected = {
        "new-orders-per-account": (Scope.ACCOUNT, 300, 3 * HOUR, True),
        "certificates-per-registered-domain": (Scope.REGISTERED_DOMAIN, 50, 7 * DAY, True),
        "certificates-per-name-set": (Scope.NAME_SET, 5, 7 * DAY, True),
        "failed-authorizations-per-name": (Scope.NAME, 5, HOUR, True),
        "consecutive-failures-per-name": (Scope.NAME, 1152, 1152 * DAY, False),
        "registrations-per-address": (Scope.ADDRESS, 10, 3 * HOUR, False),
        "registrations-per-ipv6-range": (Scope.ADDRESS, 500, 3 * HOUR, False),
    }
    assert expected == {
        each.name: (each.scope, each.capacity, each.capacity * each.interval, each.exempt_by_ari) for each in profile.limits
    }
    assert date(2026, 8, 1) == profile.figures
    assert ("letsencrypt.org",) == profile.caa_identities
    rates = {endpoint: (rate.per_second, rate.burst) for endpoint, rate in profile.requests.items()}
    assert {
        "new_nonce": (20, 10), "new_account": (5, 15), "new_order": (300, 200), "revoke": (10, 100), "renewal_info": (1000, 100),
        "directory": (40, 40), "other": (250, 125),
    } == rates  # fmt: skip


def test_staging_is_wider() -> None:
    """The staging environment has limits of the same kinds, none narrower."""
    real, staging = load_profile("letsencrypt"), load_profile("letsencrypt-staging")
    assert real.requests == staging.requests
    for ours, theirs in zip(real.limits, staging.limits, strict=True):
        assert (ours.name, ours.scope, ours.counts, ours.exempt_by_ari) == (theirs.name, theirs.scope, theirs.counts, theirs.exempt_by_ari)
        assert ours.capacity <= theirs.capacity
        assert ours.interval >= theirs.interval


@pytest.mark.parametrize(
    ("name", "certificate_profile", "expected"),
    [
        ("letsencrypt", "", 100),
        ("letsencrypt", "classic", 100),
        ("letsencrypt", "tlsserver", 25),
        ("letsencrypt", "shortlived", 25),
        ("letsencrypt", "of-tomorrow", 25),
        ("pebble", "", None),
        ("pebble", "any", None),
    ],
)
def test_most_names(name: str, certificate_profile: str, expected: int | None) -> None:
    """How many names fit on a certificate depends on its profile; orders that name none have the CA's default."""
    assert expected == load_profile(name).most_names_for(certificate_profile)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [("new_order", ("new_order", 300)), ("order", ("other", 250)), ("finalize", ("other", 250)), ("renewal_info", ("renewal_info", 1000))],
)
def test_endpoints_without_a_rate_share_one(endpoint: str, expected: tuple[str, int]) -> None:
    """Endpoints that are not listed count together."""
    found = load_profile("letsencrypt").rate_of(endpoint)
    assert found is not None
    assert expected == (found[0], found[1].per_second)


@pytest.mark.parametrize(
    ("directory_url", "expected"),
    [
        ("https://acme-v02.api.letsencrypt.org/directory", "letsencrypt"),
        ("https://ACME-v02.api.letsencrypt.org:443/directory", "letsencrypt"),
        ("https://acme-staging-v02.api.letsencrypt.org/directory", "letsencrypt-staging"),
        ("https://127.0.0.1:14000/dir", "pebble"),
        ("https://[::1]:14000/dir", "pebble"),
        ("https://localhost:14000/dir", "pebble"),
        ("https://letsencrypt.org/directory", "unknown"),
        ("https://acme.zerossl.com/v2/DV90", "unknown"),
        ("not a URL", "unknown"),
    ],
)
def test_host_picks_the_profile(directory_url: str, expected: str) -> None:
    """A directory's host decides, exactly."""
    assert expected == profile_for(directory_url).name


def test_unknown_authority() -> None:
    """A CA that no profile is about has no order limits, is called by its host, and is asked at a modest rate everywhere."""
    profile = profile_for("https://acme.zerossl.com/v2/DV90")
    assert ("acme.zerossl.com", None, ()) == (profile.title, profile.figures, profile.limits)
    assert ("other", RequestRate(20, 20)) == profile.rate_of("new_order") == profile.rate_of("revoke")


def test_pebble_limits_nothing() -> None:
    """Tests and demonstrations are not slowed."""
    profile = load_profile("pebble")
    assert ((), None) == (profile.limits, profile.rate_of("new_order"))


def test_chosen_profile(tmp_path: Path) -> None:
    """A choice goes before the host: a built-in name, or the path of a file."""
    path = tmp_path / "own.toml"
    path.write_text(HEAD)
    assert "letsencrypt" == profile_for("https://127.0.0.1/dir", "letsencrypt").name
    assert "mine" == profile_for("https://acme-v02.api.letsencrypt.org/directory", str(path)).name


@pytest.mark.parametrize("content", [None, b"\xff", b"name = 1"])
def test_choice_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """A choice that is no profile stops the process, with its path in the text."""
    path = tmp_path / "own.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"own\.toml"):
        profile_for("https://127.0.0.1/dir", str(path))


def test_every_built_in_profile_can_be_chosen() -> None:
    """The built-in profiles have different names and hosts."""
    profiles = built_in_profiles()
    assert ["letsencrypt", "letsencrypt-staging", "pebble"] == [profile.name for profile in profiles]
    hosts = [host for profile in profiles for host in profile.hosts]
    assert len(hosts) == len(set(hosts))
