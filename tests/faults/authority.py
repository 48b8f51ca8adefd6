"""The CA as clients of the proxy see it: Pebble, with what Let's Encrypt has and Pebble has not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from tests.faults.ari import RenewalInformation
from tests.faults.endpoints import RENEWAL_INFO_PATH, Endpoint
from tests.faults.faults import Refuse
from tests.faults.http1 import Request, Response
from tests.faults.request_log import LoggedRequest, PlacedOrder, RequestLog
from tests.faults.upstream import Upstream


@dataclass(slots=True)
class ExtendedAuthority:
    """Pebble with renewal information (unless `ari` is false), and with profiles: names and what the directory says of them.

    With `reuses_orders` a newOrder for the names of a pending or ready order of the account gets that order again, as at Let's Encrypt.
    """

    upstream: Upstream
    log: RequestLog
    ari: bool = True
    profiles: Mapping[str, str] = field(default_factory=dict)
    reuses_orders: bool = False
    renewals: RenewalInformation = field(default_factory=RenewalInformation)

    async def answer(self, request: Request, entry: LoggedRequest) -> Response:
        """Has the request take effect, and returns the CA's own answer."""
        response = await self._answer(request, entry)
        entry.ca_statuses.append(response.status)
        if 200 <= response.status < 300:
            self.log.accepted_kinds.add(entry.endpoint)
            self._learn(response, entry)
        return response

    async def _answer(self, request: Request, entry: LoggedRequest) -> Response:
        if entry.endpoint is Endpoint.RENEWAL_INFO and self.ari:
            return self._renewal_info(entry.path.rpartition("/")[2])
        if entry.endpoint is Endpoint.NEW_ORDER:
            if refusal := self._refusal(entry):
                return refusal.response(await self.upstream.nonce(request.headers["host"]))
            if (known := self._open_order(entry)) is not None:
                headers = {"location": f"https://{request.headers['host']}{known.path}", "content-type": "application/json"}
                headers["replay-nonce"] = await self.upstream.nonce(request.headers["host"])
                return Response(201, headers, json.dumps({**known.document, "status": known.status}).encode())
        response = await self.upstream.send(request)
        if entry.endpoint is Endpoint.DIRECTORY and response.status == 200:
            return replace(response, body=json.dumps(self._directory(response.document, request.headers["host"])).encode())
        return response

    def _directory(self, directory: dict[str, Any], host: str) -> dict[str, Any]:
        renewal_info = {"renewalInfo": f"https://{host}{RENEWAL_INFO_PATH}"} if self.ari else {}
        profiles = {"profiles": dict(self.profiles)} if self.profiles else {}
        return {**directory, **renewal_info, "meta": {**directory["meta"], **profiles}}

    def _renewal_info(self, identifier: str) -> Response:
        window = self.renewals.window(identifier)
        if window is None:
            return Refuse("malformed", 404, "there is no such certificate").response("")
        headers = {"content-type": "application/json", "retry-after": str(window.retry_after)}
        return Response(200, headers, json.dumps(window.document()).encode())

    def _refusal(self, entry: LoggedRequest) -> Refuse | None:
        profile, replaces = entry.payload.get("profile", ""), entry.payload.get("replaces", "")
        if profile and profile not in self.profiles:
            return Refuse("invalidProfile", 400, f"there is no profile {profile}")
        return self.renewals.refusal(replaces, entry.account, _names(entry), self.log.orders) if replaces and self.ari else None

    def _open_order(self, entry: LoggedRequest) -> PlacedOrder | None:
        if not self.reuses_orders:
            return None
        mine = (order for order in self.log.orders if order.account == entry.account and set(order.names) == set(_names(entry)))
        return next((order for order in mine if order.status in ("pending", "ready")), None)

    def _learn(self, response: Response, entry: LoggedRequest) -> None:
        """Takes note of what belongs to which order, and of how that stands."""
        document, log = response.document, self.log
        match entry.endpoint:
            case Endpoint.NEW_ORDER:
                path = _path(response.headers["location"])
                if log.order_of(path):
                    return
                log.add_order(PlacedOrder(path, entry.account, _names(entry), entry.payload.get("replaces", ""), document))
                for part in (*document["authorizations"], document["finalize"]):
                    log.belongs(_path(part), path)
            case Endpoint.ORDER | Endpoint.FINALIZE:
                if number := log.order_of(entry.path):
                    log.orders[number - 1].status = document["status"]
                if "certificate" in document:
                    log.belongs(_path(document["certificate"]), entry.path)
            case Endpoint.AUTHORIZATION:
                for challenge in document["challenges"]:
                    log.belongs(_path(challenge["url"]), entry.path)
            case Endpoint.CERTIFICATE:
                self.renewals.learn(response.body, entry.account)
            case _:
                pass


def _names(entry: LoggedRequest) -> tuple[str, ...]:
    return tuple(identifier["value"] for identifier in entry.payload["identifiers"])


def _path(url: str) -> str:
    return urlsplit(url).path
