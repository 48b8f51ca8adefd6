"""What issuing is made of: the CAs with their gates, and everything that one attempt needs."""

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from redis.asyncio import Redis

from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.ca_profiles import profile_for
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.adapters.redis_breaker import RedisBreakerStore
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_limits import RedisRateLimits
from controlplane.adapters.redis_replacements import RedisStoppedReplacements
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.app.authority_clients import acme_client
from controlplane.core.breaker import BreakerState
from controlplane.core.caa import Issuer
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import AccountStore, CertificateAuthority, Clock, Preflight, WorkStore
from controlplane.usecases.authorities import Authorities, Authority
from controlplane.usecases.ca_gate import CaGate
from controlplane.usecases.issuance import Issuance
from controlplane.usecases.order_slots import OrderSlots
from controlplane.usecases.orders import Orders
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.renewal_info import RenewalInfoRound
from controlplane.usecases.revocation import Revoker


def random_token() -> str:
    """Returns a token for a pre-flight's probe, of the form of a challenge's."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Cas:
    """The CAs, with what must be closed at the end."""

    authorities: Authorities[CertificateAuthority, CaGate]
    clients: Sequence[AcmeClient]
    accounts: AccountStore

    async def room(self) -> int | None:
        """Returns how many new orders the limits of the CAs that get them allow now; None: any number.

        No new order goes past a CA that serves everybody, unless it is out of order. When all are, attempts are held at no cost.
        """
        rooms: list[int] = []
        for each in self.authorities.all:
            if (await each.gate.breaker()).state is not BreakerState.CLOSED:
                continue
            room = await each.gate.room(await self._account_url(each))
            if room is None:
                return None
            rooms.append(room)
            if each.settings.tenants is None:
                break
        return sum(rooms) if rooms else None

    async def _account_url(self, authority: Authority[CertificateAuthority, CaGate]) -> str:
        """Returns the account's URL; a worker that has just been started reads it from the store, since its limits are known by it."""
        url = authority.client.account_url
        if not url:
            with suppress(RecordRejected):
                record = await self.accounts.get(authority.client.directory_url)
                url = "" if record is None else record.account_url
        return url

    def issuers(self, tenant: str) -> Sequence[Issuer]:
        """Returns the CAs that serve a tenant as CAA knows them, the most preferred first."""
        return [issuer_of(each) for each in self.authorities.all if each.settings.serves(tenant)]

    async def close(self) -> None:
        """Closes all connections."""
        for client in self.clients:
            await client.close()


def issuer_of(authority: Authority[CertificateAuthority, CaGate]) -> Issuer:
    """Returns a CA as CAA knows it: by what is configured, or else by what its profile says."""
    identities = authority.settings.caa_identities or authority.gate.profile.caa_identities
    return Issuer(frozenset(identity.lower() for identity in identities), authority.client.account_url)


def open_authorities(settings: Sequence[AuthoritySettings], client: Redis, keys: LiveKeys, clock: Clock) -> Cas:
    """Makes a client and a gate for each CA; nothing is sent yet.

    Raises:
        ConfigurationError: a profile of limits, or the MAC key of an external account, cannot be read.
    """
    limits, breakers, accounts = RedisRateLimits(client), RedisBreakerStore(client), RedisAccountStore(client, keys)

    def open_one(one: AuthoritySettings) -> tuple[Authority[CertificateAuthority, CaGate], AcmeClient]:
        def account_url() -> str:
            return acme.account_url

        profile = profile_for(one.directory_url, one.limits)
        gate = CaGate(profile, one.directory_url, limits=limits, breakers=breakers, clock=clock, account_url=account_url)
        acme = acme_client(
            one, accounts=accounts, sealer=keys, opener=keys, clock=clock, pace=gate.pace, allow_registration=gate.allow_registration
        )
        return Authority(one, acme, gate), acme

    opened = [open_one(one) for one in settings]
    return Cas(Authorities([authority for authority, _ in opened], clock), [acme for _, acme in opened], accounts)


def make_issuance(
    cas: Cas,
    client: Redis,
    keys: LiveKeys,
    *,
    work: WorkStore,
    certificates: RedisCertificateStore,
    preflight: Preflight,
    clock: Clock,
    orders_at_once: int,
    departure_grace: timedelta,
) -> Issuance:
    """Puts together what carries out attempts; `orders_at_once` bounds the orders that this process has open."""
    tokens = RedisTokenStore(client, keys)
    orders = Orders(
        authorities=cas.authorities,
        slots=OrderSlots(orders_at_once),
        tokens=tokens,
        sealer=keys,
        make_leaf_key=make_leaf_key,
        clock=clock,
    )
    return Issuance(
        work=work,
        tokens=tokens,
        authorities=cas.authorities,
        issuer_of=issuer_of,
        orders=orders,
        preflight=PreflightRound(tokens, preflight, clock, random_token),
        renewal_info=RenewalInfoRound(clock),
        revoker=Revoker(certificates),
        stopped=RedisStoppedReplacements(client),
        clock=clock,
        departure_grace=departure_grace,
    )
