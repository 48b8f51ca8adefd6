"""How many requests a CA gets, and how they are paced: no needless one, and none that the pace did not hear of."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from controlplane.adapters.acme_client import AcmeClient
from controlplane.core.errors import Unavailable
from controlplane.core.ports import AcmeError
from tests.fakes import samples
from tests.fakes.issuer import Issuer, running_issuer
from tests.fakes.work import utc_now


def sent() -> Counter[str]:
    """Requests so far, by endpoint."""
    counted: Counter[str] = Counter()
    for metric in REGISTRY.collect():
        for sample in metric.samples:
            if sample.name == "certplane_acme_requests_total":
                counted[sample.labels["endpoint"]] += int(sample.value)
    return counted


class RecordingPace:
    """A pace that lets everything through, and remembers what."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.error: Exception | None = None

    async def __call__(self, endpoint: str) -> None:
        """Notes an endpoint."""
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.asked[endpoint] += 1


def client_of(issuer: Issuer, pace: RecordingPace) -> AcmeClient:
    client = AcmeClient(
        issuer.pebble.directory_url,
        accounts=issuer.accounts,
        sealer=issuer.sealer,
        opener=issuer.opener,
        clock=utc_now,
        ca_bundle=str(issuer.pebble.ca_bundle),
        pace=pace,
    )
    issuer.clients.append(client)
    return client


async def test_an_issuance_takes_seven_requests_at_least(tmp_path: Path) -> None:
    """One name costs newOrder, authorization, challenge, finalize and certificate once each, and the order is looked at while the CA works.

    Pebble validates and signs after it has answered, so the order is read at least once after each of the two.
    """
    async with running_issuer(tmp_path, {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}) as issuer:
        await issuer.work.add(samples.spec("first.example.com"))
        await issuer.attempt("first.example.com")
        spent = []
        for number in range(3):
            name = f"shop{number}.example.com"
            await issuer.work.add(samples.spec(name))
            before = sent()
            await issuer.attempt(name)
            spent.append(sent() - before)
    once = {"new_order": 1, "authorization": 1, "challenge": 1, "finalize": 1, "certificate": 1}
    polls = [each["order"] for each in spent]
    assert 3 * [once] == [{endpoint: count for endpoint, count in each.items() if endpoint != "order"} for each in spent]
    assert [True, True, True] == [2 <= count <= 12 for count in polls], polls


async def test_a_second_name_costs_two_requests(tmp_path: Path) -> None:
    """Each further name costs its authorization and its challenge, read once and answered once."""
    async with running_issuer(tmp_path, {"PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}) as issuer:
        await issuer.authority.real.ensure_account()  # type: ignore[attr-defined]
        await issuer.work.add(samples.spec("shop.example.com", "www.shop.example.com", "m.shop.example.com"))
        before = sent()
        await issuer.attempt("shop.example.com")
        spent = sent() - before
    assert (1, 3, 3, 1, 1) == tuple(spent[each] for each in ("new_order", "authorization", "challenge", "finalize", "certificate"))
    # Three answers at once need three nonces: two more than came back before.
    assert spent["new_nonce"] <= 2


async def test_every_request_is_paced_under_its_own_name(tmp_path: Path) -> None:
    """What the metrics count, the directory, nonces and repetitions included, is what the pace was asked for."""
    async with running_issuer(tmp_path, {"PEBBLE_WFE_NONCEREJECT": "20"}) as issuer:
        pace = RecordingPace()
        client = client_of(issuer, pace)
        before = sent()
        order = await client.new_order(["shop.example.com"])
        await asyncio.gather(*(client.authorization(url) for url in order.authorization_urls for _ in range(8)))
        await client.account_changes.rollover()
        await client.account_changes.set_contact(("mailto:a@example.com",))
        assert "pending" == (await client.order(order.url)).status
        spent = sent() - before
    assert spent == pace.asked
    assert {"directory", "new_nonce", "new_account", "new_order", "authorization", "key_change", "account", "order"} <= set(spent)


async def test_a_pace_that_fails_holds_the_request_back(issuer: Issuer) -> None:
    """When the store that the pace counts in is away nothing is sent, from the loop or from a thread."""
    pace = RecordingPace()
    pace.error = Unavailable("the store is away")
    before = sent()
    with pytest.raises(Unavailable):
        await client_of(issuer, pace).new_order(["shop.example.com"])
    with pytest.raises(Unavailable):
        await client_of(issuer, pace).profiles()
    assert not sent() - before


async def test_a_refused_request_is_not_paced_twice(tmp_path: Path) -> None:
    """A refusal that stands costs one request and one pace."""
    async with running_issuer(tmp_path, {"PEBBLE_WFE_NONCEREJECT": "0"}) as issuer:
        pace = RecordingPace()
        client = client_of(issuer, pace)
        await client.ensure_account()
        with pytest.raises(AcmeError):
            await client.new_order(["not a name"])
    assert 1 == pace.asked["new_order"]
