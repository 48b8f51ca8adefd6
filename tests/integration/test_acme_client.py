"""The client of an ACME CA against a real Pebble: its account, above all."""

import asyncio
from dataclasses import replace

import pytest
from josepy.json_util import encode_b64jose
from prometheus_client import REGISTRY

from controlplane.adapters.acme_client import AcmeClient
from controlplane.core.failure import ACCOUNT_UNUSABLE, LIMIT
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.issuer import Issuer
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.work import utc_now


def client_of(issuer: Issuer, **changes: object) -> AcmeClient:
    arguments = {
        "accounts": issuer.accounts,
        "sealer": issuer.sealer,
        "opener": issuer.opener,
        "clock": utc_now,
        "ca_bundle": str(issuer.pebble.ca_bundle),
    }
    client = AcmeClient(issuer.pebble.directory_url, **(arguments | changes))  # type: ignore[arg-type]
    issuer.clients.append(client)
    return client


def registrations() -> float:
    return REGISTRY.get_sample_value("certplane_acme_requests_total", {"endpoint": "new_account", "status": "2xx"}) or 0.0


async def test_twenty_orders_at_the_usual_rate_of_rejected_nonces(issuer: Issuer) -> None:
    """Twenty issuances one after the other all succeed although Pebble rejects one good nonce in twenty."""
    outcomes = []
    for number in range(20):
        await issuer.work.add(samples.spec(f"shop{number}.example.com"))
        outcomes.append(await issuer.attempt(f"shop{number}.example.com"))
    assert 20 * [Outcome.ISSUED] == outcomes


async def test_the_account_is_made_once_for_concurrent_callers(issuer: Issuer) -> None:
    """Twenty callers at once make one account, and all get its URL."""
    before = registrations()
    client = client_of(issuer)
    urls = await asyncio.gather(*(client.ensure_account() for _ in range(20)))
    assert {issuer.accounts.records[issuer.pebble.directory_url].account_url} == set(urls)
    assert (1, before + 1) == (issuer.accounts.created, registrations())


async def test_a_registration_that_a_limit_forbids_is_not_sent(issuer: Issuer) -> None:
    """The gate of the CA is asked first, once an account; when it says no, the CA hears nothing."""
    asked: list[float] = []

    async def once_no() -> None:
        asked.append(registrations())
        if len(asked) == 1:
            raise AcmeError(AcmeProblem(LIMIT, "ten accounts in three hours", retry_after=60.0))

    before, client = registrations(), client_of(issuer, allow_registration=once_no)
    with pytest.raises(AcmeError, match="ten accounts"):
        await client.ensure_account()
    assert before == registrations()
    await client.ensure_account()
    await client.ensure_account()
    assert ([before, before], before + 1) == (asked, registrations())


async def test_two_processes_end_with_one_account(issuer: Issuer) -> None:
    """Processes that start together register the same key, and the CA answers both with one account."""
    urls = await asyncio.gather(*(client_of(issuer).ensure_account() for _ in range(4)))
    assert 1 == len(set(urls))
    assert 1 == issuer.accounts.created


async def test_the_key_is_stored_before_the_ca_hears_of_it(issuer: Issuer) -> None:
    """With the CA away the sealed key is stored without a URL; later the same key is registered."""
    await issuer.pebble.kill_authority()
    client = client_of(issuer)
    with pytest.raises(AcmeUnreachable):
        await client.ensure_account()
    left = issuer.accounts.records[issuer.pebble.directory_url]
    assert "" == left.account_url
    await issuer.pebble.start_authority()
    url = await client.ensure_account()
    stored = issuer.accounts.records[issuer.pebble.directory_url]
    assert (url, left.sealed_account_key, left.spki_digest) == (stored.account_url, stored.sealed_account_key, stored.spki_digest)


async def test_a_registration_whose_reply_was_lost_finds_its_account(issuer: Issuer) -> None:
    """A record without a URL whose key the CA knows gets the URL of the account that there is."""
    url = await client_of(issuer).ensure_account()
    directory = issuer.pebble.directory_url
    issuer.accounts.records[directory] = replace(issuer.accounts.records[directory], account_url="")
    assert url == await client_of(issuer).ensure_account()


async def test_a_lost_account_is_never_registered_again(issuer: Issuer) -> None:
    """When the CA has forgotten the account every call fails with accountDoesNotExist, until the record is forgotten by hand."""
    client = client_of(issuer)
    await client.ensure_account()
    await issuer.pebble.kill_authority()
    await issuer.pebble.start_authority()
    before = registrations()
    for _ in range(2):
        with pytest.raises(AcmeError) as caught:
            await client.new_order(["shop.example.com"])
        assert "urn:ietf:params:acme:error:accountDoesNotExist" == caught.value.problem.type
    assert before == registrations()
    await issuer.accounts.forget(issuer.pebble.directory_url)
    assert "pending" == (await client.new_order(["shop.example.com"])).status
    assert before + 1 == registrations()


async def test_an_account_key_of_another_recipient_is_not_replaced(issuer: Issuer) -> None:
    """A stored account key that does not open is reported; no second account is made over it."""
    await client_of(issuer).ensure_account()
    _, stranger = sealer_and_opener()
    with pytest.raises(AcmeError) as caught:
        await client_of(issuer, opener=stranger).ensure_account()
    assert ACCOUNT_UNUSABLE == caught.value.problem.type
    assert 1 == issuer.accounts.created


async def test_nothing_shows_the_account_key(issuer: Issuer) -> None:
    """Neither the client's nor the account's repr shows the key."""
    client = client_of(issuer)
    url = await client.ensure_account()
    assert f"AcmeClient('{issuer.pebble.directory_url}')" == repr(client)
    assert f"OpenedAccount(url='{url}')" == repr(await client._account.ensure())


async def test_a_key_authorization_is_token_and_thumbprint(issuer: Issuer) -> None:
    """A key authorization is the token, a dot and the account key's thumbprint (RFC 8555 section 8.1), and is redacted."""
    client = client_of(issuer)
    token = encode_b64jose(b"0123456789abcdef0123456789abcdef")
    body = await client.key_authorization(token)
    key = (await client._account.ensure()).key
    assert f"{token}.{encode_b64jose(key.thumbprint())}".encode() == body.reveal()
    assert "SecretBytes(redacted)" == repr(body)


async def test_an_order_tells_its_authorizations(issuer: Issuer) -> None:
    """A new order is pending, with an authorization for each name that offers an HTTP-01 token."""
    client = client_of(issuer)
    order = await client.new_order(["a.example.com", "b.example.com"])
    found = [await client.authorization(url) for url in order.authorization_urls]
    assert "pending" == order.status
    assert ["a.example.com", "b.example.com"] == sorted(each.name for each in found)
    assert all(each.token and each.challenge_url and each.challenge_status == "pending" for each in found)
    again = await client.order(order.url)
    assert (order.url, order.finalize_url) == (again.url, again.finalize_url)


async def test_a_refused_name_is_an_acme_error(issuer: Issuer) -> None:
    """A name that the CA's policy refuses raises its problem document."""
    with pytest.raises(AcmeError) as caught:
        await client_of(issuer).new_order(["not a name"])
    assert (400, True) == (caught.value.problem.status, caught.value.problem.type.startswith("urn:ietf:params:acme:error:"))


async def test_a_ca_with_another_root_is_unreachable(issuer: Issuer) -> None:
    """A CA whose HTTPS certificate does not verify gets nothing from us."""
    with pytest.raises(AcmeUnreachable) as caught:
        await client_of(issuer, ca_bundle=None, accounts=InMemoryAccounts()).ensure_account()
    assert not caught.value.sent


async def test_close_is_final(issuer: Issuer) -> None:
    """A closed client accepts no more calls, and closing twice does no harm."""
    client = client_of(issuer)
    await client.ensure_account()
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError):
        await client.new_order(["shop.example.com"])
