"""Statuses that a real CA reports and Pebble never does, as rewritten answers."""

from collections.abc import Mapping
from typing import Any

from tests.faults.faults import Rewrite, problem


def order_processing(**headers: str) -> Rewrite:
    """The order is still being signed (RFC 8555 section 7.1.6), its certificate not yet there; `retry_after` as a header's value."""

    def edit(order: dict[str, Any]) -> None:
        order["status"] = "processing"
        order.pop("certificate", None)

    return Rewrite(edit, headers=_headers(headers))


def order_status(status: str, **headers: str) -> Rewrite:
    """The order has this status."""
    return Rewrite(lambda order: order.update(status=status), headers=_headers(headers))


def order_without_certificate() -> Rewrite:
    """The order is valid but does not name its certificate yet."""
    return Rewrite(lambda order: order.pop("certificate", None))


def order_invalid(type_: str, detail: str) -> Rewrite:
    """The order failed as a whole, for this reason."""
    return Rewrite(lambda order: order.update(status="invalid", error=problem(type_, detail)))


def authorization_status(status: str) -> Rewrite:
    """The authorization has this status."""
    return Rewrite(lambda authorization: authorization.update(status=status))


def authorization_invalid(type_: str, detail: str) -> Rewrite:
    """Validation failed, for this reason."""

    def edit(authorization: dict[str, Any]) -> None:
        authorization["status"] = "invalid"
        for challenge in authorization["challenges"]:
            if challenge["type"] == "http-01":
                challenge.update(status="invalid", error=problem(type_, detail))

    return Rewrite(edit)


def authorization_without(challenge_type: str) -> Rewrite:
    """The CA does not offer this kind of challenge."""

    def edit(authorization: dict[str, Any]) -> None:
        authorization["challenges"] = [each for each in authorization["challenges"] if each["type"] != challenge_type]

    return Rewrite(edit)


def _headers(named: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in named.items()}
