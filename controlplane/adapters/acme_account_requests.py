"""What is asked of a CA about an account (RFC 8555 sections 7.3 to 7.3.6): one request and one answer each, and no memory."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from josepy.jwk import JWK

from controlplane.adapters.acme_account_jws import external_account_binding, key_change
from controlplane.adapters.acme_replies import parse_json
from controlplane.adapters.acme_transport import AcmeTransport
from controlplane.core.external_account import ExternalAccount
from controlplane.core.failure import ACME
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable

InThread = Callable[..., Awaitable[Any]]
"""Runs a blocking call in the adapter's threads."""

Pace = Callable[[str], Awaitable[None]]
"""Waits until a request to an endpoint, named as in the metrics, may be sent."""


@dataclass(frozen=True, slots=True)
class RemoteAccount:
    """An account as the CA reports it (RFC 8555 section 7.1.2)."""

    status: str
    contact: tuple[str, ...]


class AccountRequests:
    """Requests about accounts at one CA. They raise `AcmeError` and `AcmeUnreachable`."""

    def __init__(self, transport: AcmeTransport, in_thread: InThread, pace: Pace) -> None:
        self._transport = transport
        self._in_thread = in_thread
        self._pace = pace

    @property
    def directory_url(self) -> str:
        """Of the CA."""
        return self._transport.directory_url

    async def terms_of_service(self) -> str:
        """Returns the URL of the CA's terms of service, empty when it names none."""
        url: str = await self._in_thread(self._transport.terms_of_service)
        return url

    async def register(self, key: JWK, contact: tuple[str, ...], external: ExternalAccount | None) -> str:
        """Makes the account of a key, agreeing to the terms of service, or finds the one that it has; returns its URL.

        Of two processes that register one key at once a CA may fail the later one (Pebble answers serverInternal), so the account is
        looked for before such an error is believed.

        Raises:
            AcmeError: the CA refuses, or wants an external account and there is none.
        """
        payload: dict[str, Any] = {"termsOfServiceAgreed": True}
        if contact:
            payload["contact"] = list(contact)
        if external is not None:
            url = await self._in_thread(self._transport.resource, "newAccount")
            payload["externalAccountBinding"] = external_account_binding(external, key, url)
        elif await self._in_thread(self._transport.requires_external_account):
            detail = "give --acme-eab-key-id and --acme-eab-key-file, or eab_key_id and eab_key_file in --certificate-authorities"
            raise AcmeError(AcmeProblem(f"{ACME}externalAccountRequired", detail, 403))
        try:
            return await self._new_account(payload, key)
        except AcmeError as error:
            if error.problem.type != f"{ACME}serverInternal":
                raise
            url = await self._find_after_failure(key)
            if url is None:
                raise
            return url

    async def find(self, key: JWK) -> str | None:
        """Returns the URL of the account of a key, None when the CA knows none (section 7.3.1)."""
        try:
            return await self._new_account({"onlyReturnExisting": True}, key)
        except AcmeError as error:
            if is_lost(error.problem):
                return None
            raise

    async def change_key(self, account_url: str, account_key: JWK, successor: JWK) -> None:
        """Puts a new key in the account key's place (section 7.3.5)."""
        url = await self._in_thread(self._transport.resource, "keyChange")
        await self._post("key_change", url, key_change(account_url, account_key, successor, url), account_key, account_url)

    async def set_contact(self, account_url: str, key: JWK, contact: tuple[str, ...]) -> None:
        """Replaces the contact URLs (section 7.3.2)."""
        await self._post("account", account_url, {"contact": list(contact)}, key, account_url)

    async def deactivate(self, account_url: str, key: JWK) -> None:
        """Deactivates the account for ever (section 7.3.6)."""
        await self._post("account", account_url, {"status": "deactivated"}, key, account_url)

    async def read(self, account_url: str, key: JWK) -> RemoteAccount:
        """Returns the account as the CA has it."""
        document = parse_json((await self._post("account", account_url, None, key, account_url)).body, "an account")
        status, contact = document.get("status"), document.get("contact")
        if not isinstance(status, str):
            raise AcmeUnreachable("the reply is not an account", sent=True)
        return RemoteAccount(status, tuple(map(str, contact)) if isinstance(contact, list) else ())

    async def _find_after_failure(self, key: JWK) -> str | None:
        """As `find`, None also when the CA fails again: the failure that came first is the one to tell."""
        try:
            return await self.find(key)
        except (AcmeError, AcmeUnreachable):
            return None

    async def _new_account(self, payload: Mapping[str, Any], key: JWK) -> str:
        await self._pace("new_account")
        reply = await self._in_thread(self._transport.post_to_resource, "new_account", "newAccount", payload, key, None)
        if not reply.location:
            raise AcmeUnreachable("newAccount gave no account URL", sent=True)
        location: str = reply.location
        return location

    async def _post(self, endpoint: str, url: str, payload: Mapping[str, Any] | None, key: JWK, kid: str) -> Any:
        await self._pace(endpoint)
        return await self._in_thread(self._transport.post, endpoint, url, payload, key, kid)


def is_lost(problem: AcmeProblem) -> bool:
    """Whether a refusal says that the CA does not know the account."""
    return problem.type == f"{ACME}accountDoesNotExist"
