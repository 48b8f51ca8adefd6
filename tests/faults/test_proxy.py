"""The fault proxy itself: what a client of it sees, and what Pebble sees, for every fault."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from josepy.jwk import JWKEC

from controlplane.adapters.acme_transport import signed
from controlplane.core.names import DomainName
from tests.fakes.issuer import Issuer
from tests.fakes.work import utc_now
from tests.faults.ari import Window, certificate_id
from tests.faults.ending import add, attempts_until_issued
from tests.faults.endpoints import Endpoint, classify
from tests.faults.faults import BreakTls, Cut, Delay, Drip, Drop, Duplicate, Fault, Garbage, Hang, LoseReply, Page, Refuse, Rewrite
from tests.faults.proxy import FaultProxy
from tests.faults.rules import EVERY, Rule, first, nth

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PATIENT, _IMPATIENT = 10.0, 0.3


class Client:
    """Sends one request at a time, signed where asked, and nothing twice."""

    def __init__(self, proxy: FaultProxy) -> None:
        context = ssl.create_default_context(cafile=str(proxy.ca_bundle))
        self.base = proxy.directory_url.removesuffix("/dir")
        self._pool = urllib3.PoolManager(retries=urllib3.Retry(False), ssl_context=context)
        self._key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        self._kid: str | None = None
        self.nonce = ""
        self.seconds = _PATIENT

    async def send(self, method: str, path: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        """Sends a request as it is."""
        headers = {"Content-Type": "application/jose+json"} if body else {}
        url = f"{self.base}{path}"
        response = await asyncio.to_thread(self._pool.request, method, url, body=body, headers=headers, timeout=self.seconds)
        self.nonce = response.headers.get("Replay-Nonce", self.nonce)
        return response

    async def post(self, path: str, payload: Any) -> urllib3.BaseHTTPResponse:
        """Sends a signed request, with the last nonce or a new one."""
        if not self.nonce:
            await self.send("HEAD", "/nonce-plz")
        content = b"" if payload is None else json.dumps(payload).encode()
        nonce, self.nonce = self.nonce, ""
        return await self.send("POST", path, signed(content, self._key, nonce, f"{self.base}{path}", self._kid))

    async def register(self) -> None:
        """Makes an account."""
        self._kid = (await self.post("/sign-me-up", {"termsOfServiceAgreed": True})).headers["Location"]

    async def order(self, *names: str, **fields: str) -> urllib3.BaseHTTPResponse:
        """Places an order."""
        return await self.post("/order-plz", {"identifiers": [{"type": "dns", "value": name} for name in names], **fields})

    def close(self) -> None:
        """Closes its connections."""
        self._pool.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    """A client that has an account."""
    made = Client(proxy)
    await made.register()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/dir", Endpoint.DIRECTORY),
        ("/nonce-plz", Endpoint.NEW_NONCE),
        ("/sign-me-up", Endpoint.NEW_ACCOUNT),
        ("/order-plz", Endpoint.NEW_ORDER),
        ("/my-order/x", Endpoint.ORDER),
        ("/authZ/x", Endpoint.AUTHORIZATION),
        ("/chalZ/x", Endpoint.CHALLENGE),
        ("/finalize-order/x", Endpoint.FINALIZE),
        ("/certZ/x", Endpoint.CERTIFICATE),
        ("/renewal-info/a.b", Endpoint.RENEWAL_INFO),
        ("/revoke-cert", Endpoint.REVOKE_CERT),
        ("/rollover-account-key", Endpoint.KEY_CHANGE),
        ("/my-account/x", Endpoint.ACCOUNT),
        ("/", Endpoint.OTHER),
        ("", Endpoint.OTHER),
    ],
)
async def test_a_path_tells_the_resource(path: str, endpoint: Endpoint) -> None:
    """Every resource of Pebble is known by its path."""
    assert endpoint is classify(path)


async def test_urls_lead_through_the_proxy(proxy: FaultProxy, client: Client) -> None:
    """Pebble makes its URLs from the Host that the client names: all lead back to the proxy, the JWS's url included."""
    order = await client.order("through.example.com")
    document = order.json()
    urls = [order.headers["Location"], document["finalize"], *document["authorizations"]]
    assert {client.base} == {url[: len(client.base)] for url in urls}
    placed = proxy.log.of(Endpoint.NEW_ORDER)[0]
    assert (f"{client.base}/order-plz", [201], 201) == (placed.url, placed.ca_statuses, placed.answered)
    assert {"identifiers": [{"type": "dns", "value": "through.example.com"}]} == placed.payload


BREAKS: dict[str, tuple[Fault, int]] = {
    "drop": (Drop(), 0),
    "lost-reply": (LoseReply(), 1),
    "hang": (Hang(), 0),
    "hang-after-effect": (Hang(after_effect=True), 1),
    "cut": (Cut(), 1),
    "drip": (Drip(0.0), 1),
    "garbage": (Garbage(), 0),
    "tls": (BreakTls(1), 0),
}


@pytest.mark.parametrize("fault", BREAKS)
async def test_no_answer(proxy: FaultProxy, client: Client, fault: str) -> None:
    """What breaks the connection gives the client no answer; the log tells whether the CA took the order."""
    played, reached = BREAKS[fault]
    rule = proxy.fault(Endpoint.NEW_ORDER, played)
    client.seconds = _IMPATIENT
    with pytest.raises(urllib3.exceptions.HTTPError):
        await client.order("no-answer.example.com")
    assert (1, reached, reached) == (rule.played, proxy.log.accepted(Endpoint.NEW_ORDER), proxy.log.unfollowed)
    assert played is proxy.log.of(Endpoint.NEW_ORDER)[0].fault


async def test_a_refused_handshake(proxy: FaultProxy, client: Client) -> None:
    """After that fault so many connections end before TLS is up, and then it works again."""
    proxy.fault(Endpoint.DIRECTORY, BreakTls(2))
    errors: list[type] = []
    for _ in range(3):
        try:
            await client.send("GET", "/dir")
        except urllib3.exceptions.HTTPError as error:
            errors.append(type(error))
    assert [urllib3.exceptions.ProtocolError] * 3 == errors or urllib3.exceptions.SSLError in errors
    assert (200, 0) == ((await client.send("GET", "/dir")).status, proxy.refused_handshakes)


async def test_a_delay(proxy: FaultProxy, client: Client) -> None:
    """A delayed request is answered later, and took effect once."""
    proxy.fault(Endpoint.NEW_ORDER, Delay(0.1))
    begun = time.monotonic()
    assert 201 == (await client.order("late.example.com")).status
    assert 0.1 <= time.monotonic() - begun
    assert 1 == proxy.log.accepted(Endpoint.NEW_ORDER)


@pytest.mark.parametrize(("second", "status"), [(False, 201), (True, 400)])
async def test_a_duplicate(proxy: FaultProxy, client: Client, second: bool, status: int) -> None:
    """A duplicated POST reaches the CA twice; the second time its nonce is used up, and the order is taken once."""
    proxy.fault(Endpoint.NEW_ORDER, Duplicate(second=second))
    answer = await client.order("twice.example.com")
    assert (status, [[201, 400]]) == (answer.status, [each.ca_statuses for each in proxy.log.of(Endpoint.NEW_ORDER)])
    assert status == 201 or answer.json()["type"].endswith(":badNonce")


async def test_a_refusal(proxy: FaultProxy, client: Client) -> None:
    """A refusal is a whole problem document, with headers, subproblems, and a nonce that the CA takes."""
    blamed = (("a.example.com", "caa", "says no"),)
    proxy.fault(Endpoint.NEW_ORDER, Refuse("rateLimited", 429, "slow down", {"Retry-After": "77"}, subproblems=blamed))
    answer = await client.order("a.example.com")
    assert (429, "77", "application/problem+json") == (answer.status, answer.headers["Retry-After"], answer.headers["Content-Type"])
    expected = {
        "type": "urn:ietf:params:acme:error:rateLimited",
        "detail": "slow down",
        "status": 429,
        "subproblems": [
            {
                "type": "urn:ietf:params:acme:error:caa",
                "detail": "says no",
                "identifier": {"type": "dns", "value": "a.example.com"},
            }
        ],
    }
    assert expected == answer.json()
    assert client.nonce == answer.headers["Replay-Nonce"]
    assert (0, 201) == (proxy.log.accepted(Endpoint.NEW_ORDER), (await client.order("a.example.com")).status)


@pytest.mark.parametrize("after_effect", [False, True])
async def test_a_page(proxy: FaultProxy, client: Client, after_effect: bool) -> None:
    """A balancer's page has neither JSON nor a nonce."""
    proxy.fault(Endpoint.NEW_ORDER, Page(503, {"Retry-After": "5"}, after_effect=after_effect))
    answer = await client.order("page.example.com")
    assert (503, "text/html", "5") == (answer.status, answer.headers["Content-Type"], answer.headers["Retry-After"])
    assert "Replay-Nonce" not in answer.headers
    assert after_effect == proxy.log.accepted(Endpoint.NEW_ORDER)


async def test_a_rewritten_answer(proxy: FaultProxy, client: Client) -> None:
    """A rewritten answer differs in what was rewritten, and in nothing else; the log has what the CA said."""
    proxy.fault(Endpoint.NEW_ORDER, Rewrite(lambda order: order.update(status="processing"), headers={"Retry-After": "9"}, status=202))
    answer = await client.order("rewritten.example.com")
    assert (202, "processing", "9") == (answer.status, answer.json()["status"], answer.headers["Retry-After"])
    assert answer.headers["Location"].endswith(proxy.log.orders[0].path)
    assert [201] == proxy.log.of(Endpoint.NEW_ORDER)[0].ca_statuses


def applied(rule: Rule, *requests: tuple[Endpoint, int | None], accepted: frozenset[Endpoint] = frozenset()) -> list[bool]:
    """Which of these requests a rule hits: pairs of a resource and an order's number."""
    return [rule.applies(endpoint, accepted=accepted, order=order) for endpoint, order in requests]


async def test_rules_count_what_they_are_about() -> None:
    """A rule hits the n-th of the requests that it is about: its resource, its order, and not before what it comes after."""
    order, other = (Endpoint.ORDER, 1), (Endpoint.ORDER, 2)
    nonce = (Endpoint.NEW_NONCE, None)
    assert [False, False, True, False] == applied(Rule(Endpoint.ORDER, Drop(), nth(2)), order, nonce, order, order)
    assert [True, True, False] == applied(Rule(Endpoint.ORDER, Drop(), first(2)), order, order, order)
    assert [True, True, True] == applied(Rule(Endpoint.ORDER, Drop(), EVERY), order, order, order)
    assert [False, True, False] == applied(Rule(Endpoint.ORDER, Drop(), of_order=1), other, order, order)
    later = Rule(Endpoint.ORDER, Drop(), after=Endpoint.FINALIZE)
    assert [False, False] == applied(later, order, order)
    assert [True, False] == applied(later, order, order, accepted=frozenset({Endpoint.FINALIZE}))


async def test_parts_of_an_order_are_known(issuer: Issuer, proxy: FaultProxy) -> None:
    """Authorizations, challenges, finalize and certificate are known by the order that they are part of, and the order's status too."""
    await attempts_until_issued(issuer, await add(issuer, "www"), 1)
    name = await add(issuer)
    await attempts_until_issued(issuer, name, 1)
    kinds = (Endpoint.ORDER, Endpoint.AUTHORIZATION, Endpoint.CHALLENGE, Endpoint.FINALIZE, Endpoint.CERTIFICATE)
    assert [[1, 2]] * 5 == [sorted({proxy.log.order_of(each.path) or 0 for each in proxy.log.of(kind)}) for kind in kinds]
    assert [("valid", True)] * 2 == [(each.status, each.followed) for each in proxy.log.orders]
    assert (name,) == proxy.log.orders[1].names


async def test_renewal_information(issuer: Issuer, proxy: FaultProxy, client: Client) -> None:
    """The directory offers renewalInfo; a certificate's window is around two thirds of its life, or what a test has set."""
    name = await add(issuer)
    await attempts_until_issued(issuer, name, 1)
    leaf = x509.load_der_x509_certificate(issuer.work.certificate_of(DomainName(name)).leaf)  # type: ignore[union-attr]
    identifier = certificate_id(leaf)
    path = (await client.send("GET", "/dir")).json()["renewalInfo"].removeprefix(client.base)
    answer = await client.send("GET", f"{path}/{identifier}")
    window = answer.json()["suggestedWindow"]
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert (leaf.not_valid_before_utc + lifetime * (2 / 3 - 0.01)).isoformat() == window["start"]
    assert (leaf.not_valid_before_utc + lifetime * (2 / 3 + 0.01)).isoformat() == window["end"]
    assert "21600" == answer.headers["Retry-After"]
    start = utc_now()
    proxy.authority.renewals.windows[identifier] = Window(start, start + timedelta(hours=1), "https://ca.example/why", 60)
    answer = await client.send("GET", f"{path}/{identifier}")
    expected = {
        "suggestedWindow": {"start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()},
        "explanationURL": "https://ca.example/why",
    }
    assert (expected, "60") == (answer.json(), answer.headers["Retry-After"])
    assert 404 == (await client.send("GET", f"{path}/abc.def")).status


async def test_a_certificate_identifier_is_that_of_the_rfc() -> None:
    """The identifier of RFC 9773's example: the key identifier and the serial number, each base64url without padding."""
    key = ec.generate_private_key(ec.SECP256R1())
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(0x87654321)
        .not_valid_before(utc_now())
        .not_valid_after(utc_now() + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier(bytes.fromhex("69885b6b87464041e1b37b847bd0ae2cde01c8d4"), None, None),
            critical=False,
        )
        .sign(key, SHA256())
    )
    assert "aYhba4dGQEHhs3uEe9CuLN4ByNQ.AIdlQyE" == certificate_id(built)


async def test_what_replaces_is_checked(issuer: Issuer, proxy: FaultProxy, client: Client) -> None:
    """A certificate is replaced by its own account, for a name of it, and once; an order that failed does not count."""
    name = await add(issuer)
    await attempts_until_issued(issuer, name, 1)
    leaf = x509.load_der_x509_certificate(issuer.work.certificate_of(DomainName(name)).leaf)  # type: ignore[union-attr]
    identifier = certificate_id(leaf)
    refused = await client.order(name, replaces=identifier)
    assert (403, "urn:ietf:params:acme:error:unauthorized") == (refused.status, refused.json()["type"])
    assert 404 == (await client.order(name, replaces="aaaa.bbbb")).status
    assert (await issuer.authority.new_order([name], replaces=identifier)).url
    with pytest.raises(Exception, match="alreadyReplaced"):
        await issuer.authority.new_order([name], replaces=identifier)
    proxy.log.orders[-1].status = "invalid"
    with pytest.raises(Exception, match="none of the order's names"):
        await issuer.authority.new_order(["elsewhere.example.com"], replaces=identifier)
    assert (await issuer.authority.new_order([name], replaces=identifier)).url


async def test_profiles(issuer: Issuer, proxy: FaultProxy, client: Client) -> None:
    """Profiles are in the directory when a test wants them; another one is refused."""
    assert "profiles" not in (await client.send("GET", "/dir")).json()["meta"]
    proxy.authority.profiles = {"tlsserver": "https://ca.example/tlsserver"}
    assert frozenset({"tlsserver"}) == await issuer.authority.profiles()
    assert 201 == (await client.order("profile.example.com", profile="tlsserver")).status
    refused = await client.order("profile.example.com", profile="other")
    assert "urn:ietf:params:acme:error:invalidProfile" == refused.json()["type"]


async def test_a_ca_without_renewal_information(proxy: FaultProxy, client: Client) -> None:
    """Without it the directory is Pebble's own."""
    proxy.authority.ari = False
    assert "renewalInfo" not in (await client.send("GET", "/dir")).json()


async def test_requests_to_pebble_are_one_at_a_time(proxy: FaultProxy, client: Client) -> None:
    """Thirty clients at once are all answered, one after the other."""
    others = [Client(proxy) for _ in range(30)]
    slowest = proxy.authority.upstream
    under_way, most = 0, 0
    connection = slowest._connection

    async def counted() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await connection()
        finally:
            await asyncio.sleep(0)
            under_way -= 1

    slowest._connection = counted  # type: ignore[method-assign]
    answers = await asyncio.gather(*(each.send("GET", "/dir") for each in others))
    assert ([200] * 30, 1) == ([answer.status for answer in answers], most)
    for each in others:
        each.close()


async def test_an_open_order_is_given_out_again(issuer: Issuer, proxy: FaultProxy) -> None:
    """A CA that reuses orders answers newOrder with the account's open order for the same names, and with no other."""
    proxy.authority.reuses_orders = True
    real = issuer.authority.real
    order = await real.new_order(["a.again.example.com", "b.again.example.com"])
    again = await real.new_order(["b.again.example.com", "a.again.example.com"])
    assert (order.url, order.authorization_urls, "pending") == (again.url, again.authorization_urls, again.status)
    assert order.url != (await real.new_order(["a.again.example.com"])).url
    proxy.log.orders[0].status = "invalid"
    assert order.url != (await real.new_order(["a.again.example.com", "b.again.example.com"])).url
    assert (3, 4) == (len(proxy.log.orders), proxy.log.accepted(Endpoint.NEW_ORDER))


async def test_latency(proxy: FaultProxy, client: Client) -> None:
    """A request takes the latency on its way and once more back, and is at the CA in between."""
    proxy.latency = 0.05
    begun = time.monotonic()
    await client.send("GET", "/dir")
    assert 0.1 <= time.monotonic() - begun
