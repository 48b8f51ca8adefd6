"""Renewal information, `replaces` and profiles over HTTPS, against a real Pebble with what Let's Encrypt has on top."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.core.ari import ari_certificate_id, is_exempt, next_poll, replaces_for, window_of
from controlplane.core.certificate import CertificateRecord
from controlplane.core.certificate_profile import choose_profile
from controlplane.core.issuance_plan import Need, need
from controlplane.core.managed_domain import DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import AcmeError, Work
from controlplane.embedded.pebble import Pebble, PebblePorts
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.renewal_info import RenewalInfoRound
from tests.fakes import samples
from tests.fakes.http01 import http01_responder
from tests.fakes.issuer import Issuer, issuer_at
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import utc_now
from tests.faults.ari import Window
from tests.faults.endpoints import Endpoint
from tests.faults.faults import Cut, Drop, Fault, Garbage, Page, Refuse, Rewrite
from tests.faults.proxy import FaultProxy, fault_proxy

SHOP = "shop.example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Ca:
    """A Pebble behind the proxy that adds renewal windows and profiles, and an issuer that uses it."""

    proxy: FaultProxy
    issuer: Issuer

    async def issue(self) -> CertificateRecord:
        """Issues for `SHOP`, anew if there is a certificate already; returns it with who issued it."""
        name = DomainName(SHOP)
        if self.issuer.work.certificate_of(name) is not None:
            await self.issuer.work.request_renewal(name)
        assert Outcome.ISSUED == await self.issuer.attempt(SHOP)
        certificate = self.issuer.work.certificate_of(name)
        assert certificate is not None
        authority = self.issuer.authority
        return replace(certificate, directory_url=authority.directory_url, account_url=authority.account_url)

    def need(self, status: DomainStatus, certificate: CertificateRecord) -> Need:
        """What the domain needs with this status."""
        domain = self.issuer.work.domain(DomainName(SHOP))
        return need(Work(replace(domain, status=replace(status, certificate_id=certificate.id)), None, certificate), utc_now())

    @property
    def ordered(self) -> dict[str, str]:
        """What the last newOrder asked for, besides names."""
        return {key: value for key, value in self.proxy.log.of(Endpoint.NEW_ORDER)[-1].payload.items() if key != "identifiers"}


@pytest.fixture
async def ca(tmp_path: Path) -> AsyncIterator[Ca]:
    """A fresh one, with one domain."""
    tokens = InMemoryTokens()
    with http01_responder(tokens) as port:
        async with (
            Pebble(tmp_path, PebblePorts.free(http=port)) as pebble,
            fault_proxy(pebble, tmp_path) as proxy,
            issuer_at(pebble, tokens, directory_url=proxy.directory_url, ca_bundle=proxy.ca_bundle) as issuer,
        ):
            await issuer.work.add(samples.spec(SHOP))
            yield Ca(proxy, issuer)


async def test_a_window_of_a_real_certificate(ca: Ca) -> None:
    """The CA knows the certificate by the identifier; its window and Retry-After arrive and decide when the domain is renewed."""
    certificate = await ca.issue()
    status = ca.issuer.status(SHOP)
    refreshed = await RenewalInfoRound(utc_now).refresh(ca.issuer.authority, certificate, status)
    window = window_of(refreshed.renewal_window, certificate)
    suggested = ca.proxy.authority.renewals.window(ari_certificate_id(certificate.leaf))
    assert window is not None
    assert suggested is not None
    assert (suggested.start, suggested.end) == (window.start, window.end)
    assert window.start <= window.selected_time < window.end
    assert window.selected_time == refreshed.renew_time
    assert 6 * HOUR - timedelta(seconds=5) < window.poll_time - utc_now() < 7.2 * HOUR
    assert Need.NOTHING is ca.need(refreshed, certificate)


async def test_a_window_in_the_past_renews_once(ca: Ca) -> None:
    """An incident moves the window into the past: the domain needs a renewal now; its new certificate needs none, whatever stays stored."""
    first = await ca.issue()
    asking = RenewalInfoRound(utc_now)
    identifier, now = ari_certificate_id(first.leaf), utc_now()
    ca.proxy.authority.renewals.windows[identifier] = Window(now - 2 * HOUR, now - HOUR, "https://ca.example/incident")
    status = await asking.refresh(ca.issuer.authority, first, ca.issuer.status(SHOP))
    assert status.renewal_window is not None
    assert "https://ca.example/incident" == status.renewal_window.explanation_url
    assert Need.RENEWAL is ca.need(status, first)
    assert not is_exempt(identifier, status.renewal_window, utc_now())

    second = await ca.issue()
    stale = replace(ca.issuer.status(SHOP), renewal_window=status.renewal_window)
    assert Need.NOTHING is ca.need(stale, second)
    due = next_poll(stale, second, utc_now())
    assert due is not None
    assert due < utc_now() + HOUR
    answered = await asking.refresh(ca.issuer.authority, second, stale)
    assert Need.NOTHING is ca.need(answered, second)
    # The second attempt has asked for the window of what it replaced.
    assert [identifier, identifier, ari_certificate_id(second.leaf)] == [
        each.path.rpartition("/")[2] for each in ca.proxy.log.of(Endpoint.RENEWAL_INFO)
    ]


async def test_an_order_says_what_it_replaces(ca: Ca) -> None:
    """Inside the window the order is exempt and carries `replaces`; the CA takes it once and calls the next one alreadyReplaced."""
    certificate, authority = await ca.issue(), ca.issuer.authority
    identifier, now = ari_certificate_id(certificate.leaf), utc_now()
    ca.proxy.authority.renewals.windows[identifier] = Window(now - HOUR, now + HOUR)
    status = await RenewalInfoRound(utc_now).refresh(authority, certificate, ca.issuer.status(SHOP))
    replaces = replaces_for(
        certificate,
        status.renewal_window,
        directory_url=authority.directory_url,
        account_url=authority.account_url,
        names=[SHOP],
        now=utc_now(),
    )
    assert identifier == replaces
    assert is_exempt(replaces, status.renewal_window, utc_now())
    await authority.new_order([SHOP], replaces=replaces)
    assert {"replaces": identifier} == ca.ordered
    with pytest.raises(AcmeError) as caught:
        await authority.new_order([SHOP], replaces=replaces)
    assert ("urn:ietf:params:acme:error:alreadyReplaced", 409) == (caught.value.problem.type, caught.value.problem.status)


async def test_a_ca_without_ari_is_not_asked(ca: Ca) -> None:
    """No request is sent where the directory has no renewalInfo, an order does not mention `replaces`, and the lifetime decides."""
    ca.proxy.authority.ari = False
    certificate = await ca.issue()
    issued = ca.issuer.status(SHOP)
    assert await ca.issuer.authority.renewal_info(ari_certificate_id(certificate.leaf)) is None
    status = await RenewalInfoRound(utc_now).refresh(ca.issuer.authority, certificate, issued)
    assert window_of(status.renewal_window, certificate) is None
    assert issued.renew_time == status.renew_time
    await ca.issuer.authority.new_order([SHOP], replaces=ari_certificate_id(certificate.leaf))
    assert {} == ca.ordered
    assert [] == ca.proxy.log.of(Endpoint.RENEWAL_INFO)


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        (Drop(), timedelta(minutes=10), timedelta(minutes=12)),
        (Cut(), timedelta(minutes=10), timedelta(minutes=12)),
        (Garbage(), timedelta(minutes=10), timedelta(minutes=12)),
        (Page(503), timedelta(minutes=10), timedelta(minutes=12)),
        (Refuse("serverInternal", 500, "oh"), timedelta(minutes=10), timedelta(minutes=12)),
        (Refuse("malformed", 404, "no such certificate"), 6 * HOUR, 7.2 * HOUR),
        (Rewrite(lambda document: document["suggestedWindow"].update(end="2020-01-01T00:00:00Z")), 6 * HOUR, 7.2 * HOUR),
        (Rewrite(lambda document: document.pop("suggestedWindow")), timedelta(minutes=10), timedelta(minutes=12)),
    ],
)
async def test_a_poll_that_fails_costs_nothing(ca: Ca, fault: Fault, least: timedelta, most: timedelta) -> None:
    """Whatever the network or the CA makes of the question, the window that is known stays, and the CA is asked again later."""
    certificate, asking = await ca.issue(), RenewalInfoRound(utc_now)
    known = await asking.refresh(ca.issuer.authority, certificate, ca.issuer.status(SHOP))
    assert known.renewal_window is not None
    rule = ca.proxy.fault(Endpoint.RENEWAL_INFO, fault)
    before = utc_now()
    due = replace(known, renewal_window=replace(known.renewal_window, poll_time=before))
    failed = await asking.refresh(ca.issuer.authority, certificate, due)
    assert 1 == rule.played
    assert failed.renewal_window is not None
    assert replace(known, renewal_window=replace(known.renewal_window, poll_time=failed.renewal_window.poll_time)) == failed
    assert least <= failed.renewal_window.poll_time - before < most + timedelta(seconds=5)


async def test_a_profile_that_is_offered_is_asked_for(ca: Ca) -> None:
    """The directory's profiles are read, and the order carries the one that is preferred; one that is not offered costs no order."""
    ca.proxy.authority.profiles = {"classic": "https://ca.example/classic", "shortlived": "https://ca.example/shortlived"}
    authority = ca.issuer.authority
    offered = await authority.profiles()
    assert frozenset({"classic", "shortlived"}) == offered
    with pytest.raises(AcmeError, match="invalidProfile"):
        await authority.new_order([SHOP], profile="tlsserver")
    await authority.new_order([SHOP], profile=choose_profile(("shortlived",), offered, utc_now()).profile)
    assert {"profile": "shortlived"} == ca.ordered
    missing = choose_profile(("tlsserver",), offered, utc_now())
    assert missing.problem is not None
    assert "pending" == (await authority.new_order([SHOP], profile=missing.profile)).status
    assert {} == ca.ordered


async def test_a_directory_without_profiles_offers_none(ca: Ca) -> None:
    """Most CAs have no profiles."""
    assert frozenset() == await ca.issuer.authority.profiles()
