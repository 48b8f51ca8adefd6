"""How a run of an ACME order ends."""

from dataclasses import dataclass

from controlplane.core.errors import CertplaneError
from controlplane.core.failure import Failure
from controlplane.core.order import OrderRecord


@dataclass(frozen=True, slots=True)
class FinishedOrder:
    """An order whose chain was downloaded."""

    order: OrderRecord
    chain: tuple[bytes, ...]


class OrderFailed(CertplaneError):
    """The order is over, without a certificate; `order` as last persisted, so that its tokens can be withdrawn."""

    def __init__(self, failure: Failure, order: OrderRecord) -> None:
        super().__init__(failure.problem.detail)
        self.failure = failure
        self.order = order


class OrderAbandoned(CertplaneError):
    """The CA does not know the order any more, or it expired, or it leads nowhere: a new one is wanted."""

    def __init__(self, order: OrderRecord) -> None:
        super().__init__(f"the order {order.order_url} is gone, expired or of no use")
        self.order = order


class OrderInterrupted(CertplaneError):
    """The order goes on later, from what is persisted: the CA is away, limiting or broken."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.problem.detail)
        self.failure = failure


class AccountStopped(OrderInterrupted):
    """The order goes on once the operator has acted: no order of this account can, and nothing is registered anew."""


class OrderSlow(CertplaneError):
    """The CA is still at it after the time that a run may take: look again after `retry_after` seconds. Nothing has failed."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the CA is still at it; to be read again after {retry_after:g} seconds")
        self.retry_after = retry_after
