"""The pre-flight's decisions: addresses, redirects, CAA, and the verdict. No network, no clock."""

from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from controlplane.core.addresses import AddressPolicy, parse_networks
from controlplane.core.caa import CaaRecord, Issuer, refusal, tree
from controlplane.core.http_response import Response
from controlplane.core.managed_domain import Actor
from controlplane.core.names import DomainName
from controlplane.core.ports import PreflightVerdict
from controlplane.core.ports.preflight import CaaAnswer, CaaObservation, Observation
from controlplane.core.preflight import (
    MAX_ADDRESSES,
    AddressLookup,
    CaaLookup,
    Fetch,
    Finding,
    Judge,
    LookupStatus,
    judge_response,
    merge_lookups,
    permitted,
)
from controlplane.core.redirects import MAX_REDIRECTS, RedirectPolicy, RedirectRefused, Target, check_redirect_status

NAME = DomainName("shop.example.com")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PUBLIC = AddressPolicy()

# ---- addresses ----


@pytest.mark.parametrize(
    "text",
    ["8.8.8.8", "9.255.255.255", "11.0.0.0", "172.15.0.1", "172.32.0.1", "192.167.1.1", "100.63.255.255", "100.128.0.1",
     "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808", "2002:808:808::1"],
)  # fmt: skip
def test_public_address(text: str) -> None:
    """An address of the public Internet may be connected to, also one that carries a public IPv4 address."""
    assert PUBLIC.refusal(ip_address(text)) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "private"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "private"),
        ("100.127.255.255", "private"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.1", "special-purpose"),
        ("192.0.0.9", "special-purpose"),
        ("192.0.2.1", "private"),
        ("192.88.99.1", "special-purpose"),
        ("192.168.0.1", "private"),
        ("198.18.0.1", "private"),
        ("198.51.100.1", "private"),
        ("203.0.113.1", "private"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::7f00:1", "private"),
        ("::ffff:127.0.0.1", "IPv4-mapped"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("64:ff9b::7f00:1", "a NAT64 address that carries 127.0.0.1, a loopback address"),
        ("64:ff9b::a9fe:a9fe", "carries 169.254.169.254, a link-local address"),
        ("64:ff9b:1::808:808", "private"),
        ("100::1", "private"),
        ("2001::1", "special-purpose"),
        ("2001:0:7f00:1::", "special-purpose"),
        ("2001:20::1", "special-purpose"),
        ("2001:db8::1", "special-purpose"),
        ("2002:7f00:1::", "a 6to4 address that carries 127.0.0.1, a loopback address"),
        ("2002:a00:1::1", "carries 10.0.0.1"),
        ("3fff::1", "documentation"),
        ("4000::1", "special-purpose"),
        ("5f00::1", "special-purpose"),
        ("fc00::1", "private"),
        ("fd12::1", "private"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "zone"),
        ("fec0::1", "private"),
        ("ff02::1", "multicast"),
    ],
)
def test_address_that_is_not_public(text: str, words: str) -> None:
    """An address that is not public, or carries one that is not, is refused with its kind."""
    assert words in PUBLIC.refusal(ip_address(text))


def test_allowed_network() -> None:
    """The operator's networks are allowed besides, and no more than they."""
    policy = AddressPolicy(parse_networks(["127.0.0.0/8", " fd00::/8 ", "10.1.2.3"]))
    assert [policy.refusal(ip_address(text)) for text in ("127.0.0.1", "fd00::1", "10.1.2.3", "8.8.8.8")] == [""] * 4
    assert all(policy.refusal(ip_address(text)) for text in ("10.1.2.4", "::1", "::ffff:127.0.0.1", "169.254.169.254"))


def test_carried_address_in_an_allowed_network() -> None:
    """A translated address is as good as the IPv4 address in it."""
    policy = AddressPolicy(parse_networks(["10.0.0.0/8"]))
    assert policy.refusal(ip_address("64:ff9b::a00:1")) == ""


@pytest.mark.parametrize("text", ["", "shop.example.com", "10.0.0.1/8", "10.0.0.0/33"])
def test_bad_network(text: str) -> None:
    """What is not a network in CIDR notation is a ValueError."""
    with pytest.raises(ValueError):
        parse_networks([text])


# ---- redirects ----

HERE = Target("http", "shop.example.com", 80, "/.well-known/acme-challenge/abc")
POLICY = RedirectPolicy(PUBLIC, frozenset((80, 443)))


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://shop.example.com/x", Target("https", "shop.example.com", 443, "/x")),
        ("HTTPS://Shop.Example.COM./x?a=b#c", Target("https", "shop.example.com", 443, "/x?a=b")),
        ("http://other.example.org", Target("http", "other.example.org", 80, "/")),
        ("http://other.example.org:443/", Target("http", "other.example.org", 443, "/")),
        ("https://other.example.org:80/", Target("https", "other.example.org", 80, "/")),
        ("//other.example.org/y", Target("http", "other.example.org", 80, "/y")),
        ("/y", Target("http", "shop.example.com", 80, "/y")),
        ("y", Target("http", "shop.example.com", 80, "/.well-known/acme-challenge/y")),
        ("?z", Target("http", "shop.example.com", 80, "/.well-known/acme-challenge/abc?z")),
        ("https://under_score.example.com/", Target("https", "under_score.example.com", 443, "/")),
        ("https://github.io/", Target("https", "github.io", 443, "/")),
        ("http://8.8.8.8/x", Target("http", ip_address("8.8.8.8"), 80, "/x")),
        ("https://[2606:4700::1111]/x", Target("https", ip_address("2606:4700::1111"), 443, "/x")),
    ],
)
def test_redirect_that_is_followed(location: str, expected: Target) -> None:
    """A redirect to http or https, to a public host and a port of the CA's, is followed; relative ones are resolved."""
    assert expected == POLICY.follow(HERE, location, 0)


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("", "without saying where"),
        ("ftp://a.example.com/", "the scheme ftp"),
        ("file:///etc/passwd", "the scheme file"),
        ("javascript:alert(1)", "the scheme javascript"),
        ("gopher://a.example.com:80/x", "the scheme gopher"),
        ("http://a.example.com:8080/", "to port 8080"),
        ("http://a.example.com:22/", "to port 22"),
        ("http://a.example.com:0/", "to port 0"),
        ("http://a.example.com:99999/", "not a URL"),
        ("http://a.example.com:x/", "not a URL"),
        ("http://user@a.example.com/", "with a user name"),
        ("http://user:password@a.example.com/", "with a user name"),
        ("http://shop.example.com:80@127.0.0.1/", "with a user name"),
        ("http://127.0.0.1/", "to 127.0.0.1, a loopback address"),
        ("http://169.254.169.254/latest/meta-data", "to 169.254.169.254, a link-local address"),
        ("http://[::1]/", "to ::1, a loopback address"),
        ("http://[::ffff:169.254.169.254]/", "IPv4-mapped"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[::1/", "not a URL"),
        ("http://2130706433/", "not a DNS name"),
        ("http://0x7f000001/", "not a DNS name"),
        ("http://0x7f.1/", "not a DNS name"),
        ("http://127.1/", "not a DNS name"),
        ("http://0177.0.0.1/", "not a DNS name"),
        ("http://localhost/", "not a DNS name"),
        ("http://a.localhost/", "not in the public DNS"),
        ("http://metadata.google.internal/", "not in the public DNS"),
        ("http:///x", "not a DNS name"),
        ("http://a..b.com/", "not a DNS name"),
        ("http://-a.com/", "not a DNS name"),
        ("http://" + "a." * 130 + "com/", "not a DNS name"),
        ("http://a.example.com/\r\nX-Injected: 1", "not a URL"),
        ("http://a.example.com/ x", "not a URL"),
        ("http://b\xfccher.example/", "not a URL"),
        ("http://a.example.com\\@127.0.0.1/", "not a URL"),
        ("http://a.example.com/" + "x" * 2000, "not a URL"),
    ],
)
def test_redirect_that_is_refused(location: str, words: str) -> None:
    """A redirect to any other place is refused with the reason."""
    with pytest.raises(RedirectRefused) as refused:
        POLICY.follow(HERE, location, 0)
    assert words in str(refused.value)


def test_ten_redirects_and_no_more() -> None:
    """The tenth redirect is followed, the eleventh is not."""
    assert POLICY.follow(HERE, "/x", MAX_REDIRECTS - 1).path == "/x"
    with pytest.raises(RedirectRefused, match="more than 10 times"):
        POLICY.follow(HERE, "/x", MAX_REDIRECTS)


def test_configured_port_is_followed_to() -> None:
    """A redirect to a configured port of the CA is followed, and the port stands in the Host field."""
    policy = RedirectPolicy(PUBLIC, frozenset((80, 443, 5002)))
    assert policy.follow(HERE, "http://a.example.com:5002/", 0).authority == "a.example.com:5002"


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        (Target("http", "a.test", 80, "/"), "a.test"),
        (Target("https", "a.test", 443, "/"), "a.test"),
        (Target("http", "a.test", 443, "/"), "a.test:443"),
        (Target("http", ip_address("::1"), 80, "/"), "[::1]"),
        (Target("http", ip_address("127.0.0.1"), 81, "/"), "127.0.0.1:81"),
    ],
)
def test_authority(target: Target, authority: str) -> None:
    """The Host field has the port only where it is not the scheme's own, and brackets around IPv6."""
    assert authority == target.authority


def test_shown_url_hides_the_token() -> None:
    """A URL in a message has neither the token nor a query."""
    assert HERE.shown == "http://shop.example.com"
    assert Target("https", "a.test", 443, "/login?next=/.well-known/acme-challenge/abc").shown == "https://a.test/login"


# ---- CAA ----

LE = Issuer(frozenset(("letsencrypt.org",)), "https://ca.example/acct/1")


def issue(*values: str) -> tuple[CaaRecord, ...]:
    return tuple(CaaRecord(0, "issue", value) for value in values)


@pytest.mark.parametrize(
    "records",
    [
        (),
        issue("letsencrypt.org"),
        issue(" LetsEncrypt.ORG ; "),
        issue("digicert.com", "letsencrypt.org"),
        issue(";", "letsencrypt.org"),
        issue("letsencrypt.org; validationmethods=http-01"),
        issue("letsencrypt.org;validationmethods=dns-01,http-01;accounturi=https://ca.example/acct/1"),
        issue("letsencrypt.org; validationmethods=dns-01", "letsencrypt.org"),
        issue("letsencrypt.org; policy=ev"),
        (CaaRecord(0, "ISSUE", "letsencrypt.org"),),
        (CaaRecord(0, "issuewild", ";"),),
        (CaaRecord(128, "issuewild", ";"),),
        (CaaRecord(0, "iodef", "mailto:a@example.com"),),
        (CaaRecord(128, "iodef", "mailto:a@example.com"),),
        (CaaRecord(0, "unknown", "x"),),
        (CaaRecord(128, "issue", "letsencrypt.org"),),
    ],
)
def test_caa_that_allows(records: tuple[CaaRecord, ...]) -> None:
    """Issuance is allowed without issue properties, or with one that names the CA and whose parameters fit."""
    assert refusal(records, LE) == ""


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (issue(";"), "allows no CA at all; add 'issue \"letsencrypt.org\"'"),
        (issue(""), "allows no CA at all"),
        (issue("digicert.com", "sectigo.com"), "allows only digicert.com, sectigo.com; add 'issue \"letsencrypt.org\"'"),
        (issue("notletsencrypt.org"), "allows only notletsencrypt.org"),
        (issue("letsencrypt.org.evil.com"), "allows only"),
        (issue("letsencrypt.org validationmethods=http-01"), "allows no CA at all"),
        (issue("%%%"), "allows no CA at all"),
        (issue("letsencrypt.org; broken"), "allows no CA at all"),
        (issue("letsencrypt.org; validationmethods=dns-01"), "allows the validation methods dns-01 only; add http-01"),
        (issue("letsencrypt.org; validationmethods=dns-01,tls-alpn-01"), "dns-01,tls-alpn-01 only"),
        (issue("letsencrypt.org; validationmethods="), "validation methods"),
        (issue("letsencrypt.org; validationmethods=http-01; validationmethods=http-01"), "twice"),
        (issue("letsencrypt.org; accounturi=https://ca.example/acct/2"), "another ACME account"),
        (issue("letsencrypt.org; accounturi=https://ca.example/acct/1; accounturi=https://ca.example/acct/1"), "twice"),
        ((*issue("letsencrypt.org"), CaaRecord(128, "tbs", "unknown")), "critical property 'tbs'"),
        ((*issue("letsencrypt.org"), CaaRecord(1, "tbs", "unknown")), "critical property 'tbs'"),
    ],
)
def test_caa_that_forbids(records: tuple[CaaRecord, ...], words: str) -> None:
    """A record set that forbids is refused with what it allows, and what to add."""
    assert words in refusal(records, LE)


def test_caa_without_a_known_account() -> None:
    """Before the account is known, an account URI is not held against us."""
    assert refusal(issue("letsencrypt.org; accounturi=https://ca.example/acct/2"), Issuer(LE.identities)) == ""


@pytest.mark.parametrize(("value", "refused"), [("digicert.com", False), ("digicert.com; validationmethods=dns-01", False), (";", True)])
def test_caa_for_a_ca_without_identity(value: str, refused: bool) -> None:
    """For a CA that has no identity only what forbids every CA is a refusal."""
    assert refused == bool(refusal(issue(value), Issuer(frozenset())))


def test_caa_tree() -> None:
    """The tree is walked from the name up to its top-level domain."""
    expected = ("www.shop.example.com", "shop.example.com", "example.com", "com")
    assert expected == tree(DomainName("www.shop.example.com"))


# ---- lookups ----

V4, V4B, V6 = ip_address("8.8.8.8"), ip_address("9.9.9.9"), ip_address("2606:4700::1111")


@pytest.mark.parametrize(
    ("aaaa", "a", "status"),
    [
        (LookupStatus.NO_DATA, LookupStatus.NO_DATA, LookupStatus.NO_DATA),
        (LookupStatus.NO_SUCH_NAME, LookupStatus.NO_SUCH_NAME, LookupStatus.NO_SUCH_NAME),
        (LookupStatus.FAILED, LookupStatus.NO_DATA, LookupStatus.FAILED),
        (LookupStatus.NO_SUCH_NAME, LookupStatus.FAILED, LookupStatus.FAILED),
        (LookupStatus.NO_ANSWER, LookupStatus.NO_DATA, LookupStatus.NO_ANSWER),
    ],
)
def test_lookup_without_addresses(aaaa: LookupStatus, a: LookupStatus, status: LookupStatus) -> None:
    """A failure of either lookup may hide addresses, so it outweighs an absence."""
    assert status is merge_lookups([AddressLookup(aaaa), AddressLookup(a)]).status


@pytest.mark.parametrize("other", [LookupStatus.NO_DATA, LookupStatus.FAILED, LookupStatus.NO_ANSWER, LookupStatus.NO_SUCH_NAME])
def test_lookup_with_addresses_of_one_family(other: LookupStatus) -> None:
    """Addresses of one family are enough, whatever the other lookup gave."""
    merged = merge_lookups([AddressLookup(other), AddressLookup(LookupStatus.FOUND, (V4,))])
    expected = AddressLookup(LookupStatus.FOUND, (V4,))
    assert expected == merged


def test_lookup_order_and_bound() -> None:
    """IPv6 comes first, and a crowd of addresses is cut for each family."""
    crowd = tuple(ip_address(f"9.9.9.{index}") for index in range(100))
    merged = merge_lookups([AddressLookup(LookupStatus.FOUND, crowd), AddressLookup(LookupStatus.FOUND, (V6,))])
    expected = (V6, *crowd[:MAX_ADDRESSES])
    assert expected == merged.addresses


# ---- the response ----


@pytest.mark.parametrize(
    ("response", "finding"),
    [
        (Response(200, "", b"abc.def", truncated=False), Finding.GOOD),
        (Response(200, "", b"abc.def \r\n", truncated=False), Finding.GOOD),
        (Response(200, "", b" abc.def", truncated=False), Finding.WRONG_ANSWER),
        (Response(200, "", b"abc.de", truncated=False), Finding.WRONG_ANSWER),
        (Response(200, "", b"", truncated=False), Finding.WRONG_ANSWER),
        (Response(200, "", b"abc.def", truncated=True), Finding.WRONG_ANSWER),
        (Response(404, "", b"abc.def", truncated=False), Finding.WRONG_ANSWER),
        (Response(499, "", b"abc.def", truncated=False), Finding.WRONG_ANSWER),
        (Response(500, "", b"abc.def", truncated=False), Finding.SERVER_ERROR),
        (Response(503, "", b"abc.def", truncated=False), Finding.SERVER_ERROR),
        (Response(206, "", b"abc.def", truncated=False), Finding.WRONG_ANSWER),
    ],
)
def test_response(response: Response, finding: Finding) -> None:
    """Only status 200 with the very body is good; white space after it does not matter."""
    assert finding is judge_response(HERE, response, b"abc.def")[0]


def test_response_detail_holds_no_body() -> None:
    """A problem never repeats what a stranger's server sent as its body."""
    _, detail = judge_response(HERE, Response(200, "", b"internal-page", truncated=False), b"abc.def")
    assert "internal-page" not in detail
    assert "abc" not in detail


# ---- the verdict ----

JUDGE = Judge(NAME, NOW, PUBLIC, LE)
NO_CAA = CaaLookup("com", LookupStatus.NO_DATA)


def summary(verdict: PreflightVerdict) -> tuple[str, bool, Actor | None]:
    problem = verdict.problem
    return (
        (problem.type.removeprefix("urn:certplane:error:preflight:"), verdict.conclusive, problem.must_act) if problem else ("", True, None)
    )


@pytest.mark.parametrize(
    ("lookup", "expected"),
    [
        (AddressLookup(LookupStatus.NO_SUCH_NAME), ("no-such-name", True, Actor.CUSTOMER)),
        (AddressLookup(LookupStatus.NO_DATA), ("no-address", True, Actor.CUSTOMER)),
        (AddressLookup(LookupStatus.FAILED, detail="SERVFAIL"), ("dns-failed", False, Actor.NOBODY)),
        (AddressLookup(LookupStatus.NO_ANSWER, detail="silent"), ("resolver-silent", False, Actor.OPERATOR)),
        (AddressLookup(LookupStatus.TIME_OVER, detail="over"), ("time-over", False, Actor.NOBODY)),
        (AddressLookup(LookupStatus.FOUND, (ip_address("10.0.0.1"),)), ("private-address", True, Actor.CUSTOMER)),
        (AddressLookup(LookupStatus.FOUND, (ip_address("::1"), ip_address("127.0.0.1"))), ("private-address", True, Actor.CUSTOMER)),
    ],
)
def test_verdict_without_an_address(lookup: AddressLookup, expected: tuple[str, bool, Actor]) -> None:
    """A name that leads nowhere is the customer's to correct; a resolver that fails proves nothing."""
    verdict = JUDGE.addresses(lookup, NO_CAA)
    assert verdict is not None
    assert expected == summary(verdict)


def test_private_address_beside_a_public_one() -> None:
    """A CA drops addresses that are not public, so they decide only when there is no other."""
    lookup = AddressLookup(LookupStatus.FOUND, (ip_address("10.0.0.1"), V4))
    assert JUDGE.addresses(lookup, NO_CAA) is None
    assert permitted(lookup, PUBLIC) == (V4,)


def at(address: object, finding: Finding, redirects: int = 0) -> Fetch:
    return Fetch(ip_address(str(address)), finding, f"does {finding.name}", redirects)


GOOD_VERDICT = ("", True, None)


@pytest.mark.parametrize(
    ("fetches", "expected"),
    [
        ([at(V4, Finding.GOOD)], GOOD_VERDICT),
        ([at(V6, Finding.GOOD), at(V4, Finding.GOOD)], GOOD_VERDICT),
        ([at(V6, Finding.TIMED_OUT), at(V4, Finding.GOOD)], GOOD_VERDICT),
        ([at(V6, Finding.UNREACHABLE), at(V4, Finding.GOOD)], GOOD_VERDICT),
        ([at(V6, Finding.GOOD), at(V4, Finding.TIMED_OUT)], GOOD_VERDICT),
        ([at(V6, Finding.TIMED_OUT, redirects=1), at(V4, Finding.GOOD)], ("timeout", False, Actor.NOBODY)),
        ([at(V6, Finding.CUT_SHORT), at(V4, Finding.GOOD)], ("connection-cut", False, Actor.NOBODY)),
        ([at(V6, Finding.TIMED_OUT), at(V4, Finding.TIMED_OUT)], ("timeout", False, Actor.NOBODY)),
        ([at(V6, Finding.UNREACHABLE)], ("unreachable", False, Actor.OPERATOR)),
        ([at(V4, Finding.GOOD), at(V4B, Finding.TIMED_OUT)], ("timeout", False, Actor.NOBODY)),
        ([at(V6, Finding.REFUSED), at(V4, Finding.GOOD)], ("connection-refused", False, Actor.CUSTOMER)),
        ([at(V6, Finding.REFUSED), at(V4, Finding.TIMED_OUT)], ("connection-refused", True, Actor.CUSTOMER)),
        ([at(V6, Finding.WRONG_ANSWER), at(V4, Finding.GOOD)], ("wrong-answer", True, Actor.CUSTOMER)),
        ([at(V6, Finding.GOOD), at(V4, Finding.WRONG_ANSWER)], ("wrong-answer", True, Actor.CUSTOMER)),
        ([at(V4, Finding.GOOD), at(V4B, Finding.REFUSED)], ("connection-refused", True, Actor.CUSTOMER)),
        ([at(V6, Finding.TIMED_OUT), at(V4, Finding.BAD_REDIRECT)], ("bad-redirect", True, Actor.CUSTOMER)),
        ([at(V4, Finding.TLS_FAILED)], ("tls-failed", True, Actor.CUSTOMER)),
        ([at(V4, Finding.LOOKUP_FAILED)], ("redirect-lookup-failed", False, Actor.NOBODY)),
        ([at(V4, Finding.SERVER_ERROR)], ("server-error", True, Actor.CUSTOMER)),
        ([at(V6, Finding.TIME_OVER), at(V4, Finding.GOOD)], ("time-over", False, Actor.NOBODY)),
    ],
)
def test_verdict_on_fetches(fetches: list[Fetch], expected: tuple[str, bool, Actor | None]) -> None:
    """Wrong answers and refusals decide wherever they are; silence only where the CA would not fall back from it."""
    assert expected == summary(JUDGE.outcome(fetches, NO_CAA))


@pytest.mark.parametrize(
    ("finding", "caa", "expected"),
    [
        (Finding.GOOD, CaaLookup("example.com", LookupStatus.FOUND, issue("letsencrypt.org")), GOOD_VERDICT),
        (Finding.GOOD, CaaLookup("example.com", LookupStatus.FOUND, issue(";")), ("caa-forbids", True, Actor.CUSTOMER)),
        (Finding.TIMED_OUT, CaaLookup("example.com", LookupStatus.FOUND, issue(";")), ("caa-forbids", True, Actor.CUSTOMER)),
        (Finding.WRONG_ANSWER, CaaLookup("example.com", LookupStatus.FOUND, issue(";")), ("wrong-answer", True, Actor.CUSTOMER)),
        (Finding.GOOD, CaaLookup("example.com", LookupStatus.FAILED), ("caa-lookup-failed", False, Actor.NOBODY)),
        (Finding.GOOD, CaaLookup("example.com", LookupStatus.NO_ANSWER), ("caa-lookup-failed", False, Actor.OPERATOR)),
        (Finding.GOOD, CaaLookup("example.com", LookupStatus.TIME_OVER), ("caa-lookup-failed", False, Actor.NOBODY)),
        (Finding.TIMED_OUT, CaaLookup("example.com", LookupStatus.FAILED), ("timeout", False, Actor.NOBODY)),
    ],
)
def test_verdict_with_caa(finding: Finding, caa: CaaLookup, expected: tuple[str, bool, Actor | None]) -> None:
    """CAA that forbids is conclusive, CAA that cannot be read is not; conclusive problems come first."""
    assert expected == summary(JUDGE.outcome([at(V4, finding)], caa))


def test_problem_tells_the_whole_story() -> None:
    """A problem has the type, the name, the address, what was seen there, who must act and when it was seen."""
    problem = JUDGE.outcome([at(V6, Finding.GOOD), Fetch(V4, Finding.REFUSED, "refuses the connection to port 80")], NO_CAA).problem
    assert problem is not None
    assert problem.type == "urn:certplane:error:preflight:connection-refused"
    expected = (
        "shop.example.com is not answered by this service: point the name at this service. Seen: 8.8.8.8 refuses the connection to port 80."
        " Expected: status 200 with the token's body from every address"
    )
    assert expected == problem.detail
    assert (problem.must_act, problem.time, problem.failed_name) == (Actor.CUSTOMER, NOW, "shop.example.com")


def test_problem_with_many_addresses_is_short() -> None:
    """The detail names three addresses and counts the rest."""
    fetches = [at(f"9.9.9.{index}", Finding.REFUSED) for index in range(8)]
    problem = JUDGE.outcome(fetches, NO_CAA).problem
    assert problem is not None
    assert "9.9.9.2 does REFUSED; and 5 more addresses. Expected" in problem.detail


def test_own_failure_forbids_nothing() -> None:
    """A failure of our own is the operator's, and inconclusive."""
    assert summary(JUDGE.own_failure()) == ("internal", False, Actor.OPERATOR)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_status_that_is_followed(status: int) -> None:
    """Redirects that keep the request a GET at another place are followed."""
    check_redirect_status(status)


@pytest.mark.parametrize("status", [300, 303, 304, 305, 399])
def test_redirect_status_that_is_refused(status: int) -> None:
    """A CA follows no other status (Baseline Requirements section 3.2.2.4.19)."""
    with pytest.raises(RedirectRefused, match=f"with status {status}"):
        check_redirect_status(status)


@pytest.mark.parametrize(
    ("caa", "expected"),
    [
        (NO_CAA, CaaObservation(CaaAnswer.ABSENT)),
        (
            CaaLookup("example.com", LookupStatus.FOUND, issue("letsencrypt.org")),
            CaaObservation(CaaAnswer.ALLOWS, "example.com", ('0 issue "letsencrypt.org"',)),
        ),
        (
            CaaLookup("example.com", LookupStatus.FOUND, issue("a\x1b[31m.com")),
            CaaObservation(
                CaaAnswer.FORBIDS,
                "example.com",
                ('0 issue "a\N{REPLACEMENT CHARACTER}[31m.com"',),
                "allows no CA at all; add 'issue \"letsencrypt.org\"'",
            ),
        ),
        (
            CaaLookup("example.com", LookupStatus.FAILED, detail="SERVFAIL"),
            CaaObservation(CaaAnswer.UNKNOWN, "example.com", detail="SERVFAIL"),
        ),
    ],
)
def test_caa_that_is_told(caa: CaaLookup, expected: CaaObservation) -> None:
    """A verdict tells what CAA says, with its records as text that a terminal does not obey."""
    assert expected == JUDGE.outcome([at(V4, Finding.GOOD)], caa).caa


def test_caa_records_that_are_told_are_bounded() -> None:
    """However many and long a stranger's records are, sixteen are told, of 200 characters each."""
    told = JUDGE.outcome([at(V4, Finding.GOOD)], CaaLookup("com", LookupStatus.FOUND, issue(*["x" * 9000] * 64))).caa
    assert told is not None
    assert (16, 200) == (len(told.records), told.records[0].count("x"))


def test_addresses_that_are_told() -> None:
    """A verdict tells what happened at each address, and what would have been good; also at those that a CA drops."""
    lookup = AddressLookup(LookupStatus.FOUND, (V4, ip_address("10.0.0.1")))
    expected = (
        Observation("8.8.8.8", "connection-refused", "refuses the connection", "status 200 with the token's body"),
        Observation(
            "10.0.0.1", "private-address", "is a private or special-purpose address, which a CA does not connect to", "a public address"
        ),
    )
    assert expected == JUDGE.outcome([Fetch(V4, Finding.REFUSED, "refuses the connection")], NO_CAA, lookup).observations


@pytest.mark.parametrize(("name", "good"), [("shop.example.com", True), ("shop.test", True), ("co.uk", False), ("a.local", False)])
def test_name_itself(name: str, good: bool) -> None:
    """A public suffix, or a name outside the public DNS, gets no certificate whatever it leads to."""
    verdict = Judge(DomainName(name), NOW, PUBLIC, LE).name_itself()
    assert good == (verdict is None)
    assert verdict is None or ("not-certifiable", True, Actor.CUSTOMER) == summary(verdict)
