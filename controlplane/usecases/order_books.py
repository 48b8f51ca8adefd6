"""What a CA's gate is told of orders, so that it counts what the CA counts.

The end of an order is told once, under the lease, after its record is gone: issued; ended without a certificate (what the CA counts only
when it issues goes back); refused (what that teaches). When in doubt nothing goes back, since a token too few is no refusal.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from controlplane.core import failure as failures
from controlplane.core.ari import is_exempt, window_of
from controlplane.core.errors import Unavailable
from controlplane.core.failure import Failure
from controlplane.core.managed_domain import RenewalWindow
from controlplane.core.order import OrderRecord
from controlplane.core.ports import AcmeProblem, CertificateAuthority
from controlplane.usecases.attempt import Attempt
from controlplane.usecases.authorities import Authority
from controlplane.usecases.ca_gate import CaGate
from controlplane.usecases.order_endings import OrderFailed

CertificateCa: TypeAlias = Authority[CertificateAuthority, CaGate]
"""A CA as orders are placed with it."""

ACCOUNT_STOP_SECONDS: Final = 300.0
"""For which a CA is left alone that wants the operator to act: as long as nobody does, each order would be refused. One order each time
finds out whether somebody has."""


def window_in_force(attempt: Attempt) -> RenewalWindow | None:
    """Returns the window that the CA gave for the certificate in force, if there are both."""
    certificate = attempt.work.certificate
    return None if certificate is None else window_of(attempt.progress.status.renewal_window, certificate)


def counts_as_replacing(attempt: Attempt, order: OrderRecord | None) -> bool:
    """Returns whether an order counts as one that replaces a certificate in time.

    That stays so: no window is asked for until it ends.
    """
    return order is not None and is_exempt(order.replaces, window_in_force(attempt), order.start_time)


async def note_change(attempt: Attempt, authority: CertificateCa, changed: OrderRecord) -> None:
    """Counts an order that turns out to replace nothing, before it is written down as such."""
    if not changed.replaces and counts_as_replacing(attempt, attempt.progress.order):
        await authority.gate.exemption_lost(changed.names, account_url=changed.account_url)


async def note_issued(authority: CertificateCa, order: OrderRecord) -> None:
    """Notes that the CA is well, and ends the names' rows of failures. A store that is away is no reason to raise."""
    with suppress(Unavailable):
        # The certificate is in force, whatever becomes of the books.
        await authority.gate.healthy()
        await authority.gate.authorization_succeeded(order.names, order.account_url)


async def note_without_certificate(attempt: Attempt, authority: CertificateCa, order: OrderRecord) -> None:
    """Gives back what the order took for a certificate that the CA has certainly not issued."""
    replacing = counts_as_replacing(attempt, order)
    await authority.gate.ended_without_certificate(order.names, replacing=replacing, account_url=order.account_url)


async def note_failed(attempt: Attempt, authority: CertificateCa, failed: OrderFailed) -> None:
    """Tells what an order's end says of the CA, and of the names."""
    failure, order = failed.failure, failed.order
    blamed = [name for name, _ in failure.names]
    if blamed and order.order_url:
        await authority.gate.authorization_failed(blamed, order.account_url)
    await _tell(authority, order.names, failure, order.account_url, replacing=counts_as_replacing(attempt, order))


async def note_interrupted(attempt: Attempt, authority: CertificateCa, names: Sequence[str], failure: Failure) -> None:
    """Tells why the CA does not go on with an order for `names`, or does not take it."""
    if failures.stops_account(failure):
        await authority.gate.faulty(ACCOUNT_STOP_SECONDS)
        return
    replacing = counts_as_replacing(attempt, attempt.progress.order)
    await _tell(authority, names, failure, authority.client.account_url, replacing=replacing)


async def _tell(authority: CertificateCa, names: Sequence[str], failure: Failure, account_url: str, *, replacing: bool) -> None:
    problem = AcmeProblem(failure.problem.type, failure.problem.detail, retry_after=failure.retry_after)
    await authority.gate.learn(problem, names, account_url, replacing=replacing)
    if failures.is_authority_fault(failure):
        await authority.gate.faulty(failure.retry_after)
    else:
        # A refusal is an answer: the CA is there.
        await authority.gate.healthy()
