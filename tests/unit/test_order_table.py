"""The table of order steps."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product

import pytest

from controlplane.core.order import Phase
from controlplane.core.order_steps import (
    LONGEST_LIFE,
    LOOK_AGAIN,
    ORDER_STEPS,
    UNCERTAIN_LIFE,
    RemoteStatus,
    Step,
    expiry,
    expiry_by_our_clock,
    look_again,
    next_step,
    remote_status,
)
from controlplane.core.ports import RemoteOrder
from tests.fakes import samples

NOW = samples.now()


def an_order(phase: Phase, *, expires_in: timedelta | None = timedelta(hours=1)):
    return replace(samples.order("shop.example.com"), phase=phase, expire_time=None if expires_in is None else NOW + expires_in)


def remote(status: str) -> RemoteOrder:
    return RemoteOrder("https://ca/o/1", status, "https://ca/f/1", ("https://ca/a/1",), "", None)


def test_a_prepared_order_is_posted() -> None:
    """An order without a URL is posted, whether newOrder was never sent or its reply was lost."""
    assert next_step(an_order(Phase.PREPARED), RemoteStatus.UNREAD, answered=False, now=NOW) is Step.PLACE_ORDER


@pytest.mark.parametrize("phase", [Phase.PLACED, Phase.FINALIZING])
def test_a_successor_reads_the_order_first(phase: Phase) -> None:
    """Whoever takes over an order that has a URL reads it before anything else."""
    assert next_step(an_order(phase), RemoteStatus.UNREAD, answered=False, now=NOW) is Step.POLL


@pytest.mark.parametrize("phase", [Phase.PLACED, Phase.FINALIZING])
@pytest.mark.parametrize(
    ("status", "step"),
    [
        ("pending", Step.ANSWER_CHALLENGES),
        ("ready", Step.FINALIZE),
        ("processing", Step.POLL),
        ("valid", Step.DOWNLOAD),
        ("invalid", Step.FAIL),
        ("expired", Step.ABANDON),
        ("deactivated", Step.ABANDON),
    ],
)
def test_the_remote_status_decides(phase: Phase, status: str, step: Step) -> None:
    """Once read, the CA's status decides the step in both phases, so a worker killed between any two writes is succeeded."""
    assert next_step(an_order(phase), remote_status(remote(status)), answered=False, now=NOW) is step


def test_answered_challenges_are_waited_for() -> None:
    """A pending order whose challenges this worker has answered is polled, not answered again."""
    assert next_step(an_order(Phase.PLACED), RemoteStatus.PENDING, answered=True, now=NOW) is Step.POLL


@pytest.mark.parametrize("phase", [Phase.PLACED, Phase.FINALIZING])
def test_a_vanished_order_is_abandoned(phase: Phase) -> None:
    """An order that the CA does not know is abandoned."""
    assert next_step(an_order(phase), RemoteStatus.GONE, answered=False, now=NOW) is Step.ABANDON


@pytest.mark.parametrize("status", ["pending", "ready", "processing"])
def test_an_expired_order_is_not_waited_for(status: str) -> None:
    """Past its expiry an order that still needs something is abandoned."""
    order = an_order(Phase.PLACED, expires_in=timedelta(0))
    assert next_step(order, remote_status(remote(status)), answered=False, now=NOW) is Step.ABANDON


def test_a_certificate_is_downloaded_after_the_orders_expiry() -> None:
    """A valid order is downloaded even when it has expired: the certificate exists."""
    order = an_order(Phase.FINALIZING, expires_in=timedelta(hours=-1))
    assert next_step(order, RemoteStatus.VALID, answered=False, now=NOW) is Step.DOWNLOAD


def test_an_expired_order_is_read_once() -> None:
    """An expired order that was not read yet is read: it may be valid."""
    order = an_order(Phase.FINALIZING, expires_in=timedelta(hours=-1))
    assert next_step(order, RemoteStatus.UNREAD, answered=False, now=NOW) is Step.POLL


def test_an_order_without_expiry_is_waited_for() -> None:
    """A CA need not say when an order expires."""
    assert next_step(an_order(Phase.PLACED, expires_in=None), RemoteStatus.PROCESSING, answered=False, now=NOW) is Step.POLL


def test_a_status_that_the_rfc_does_not_know_is_waited_for() -> None:
    """An unknown status is treated as processing, which the order's expiry bounds."""
    assert remote_status(remote("pondering")) is RemoteStatus.PROCESSING


def test_the_table_has_every_combination_that_can_be() -> None:
    """All combinations of phase and status have a row, except a status of an order that was never placed."""
    missing = {pair for pair in product(Phase, RemoteStatus) if pair not in ORDER_STEPS}
    assert {(Phase.PREPARED, status) for status in RemoteStatus if status is not RemoteStatus.UNREAD} == missing


def test_an_order_that_was_never_placed_has_no_status() -> None:
    """A combination that cannot be is an error, not a guess."""
    with pytest.raises(KeyError):
        next_step(an_order(Phase.PREPARED), RemoteStatus.READY, answered=False, now=NOW)


def test_an_accepted_csr_is_waited_for() -> None:
    """An order that is still shown as ready after the CA has accepted the CSR is polled, until it expires."""
    order = an_order(Phase.FINALIZING)
    assert Step.POLL is next_step(order, RemoteStatus.READY, answered=False, now=NOW, finalized=True)
    assert Step.FINALIZE is next_step(order, RemoteStatus.READY, answered=False, now=NOW)
    assert Step.ABANDON is next_step(order, RemoteStatus.READY, answered=False, now=NOW + timedelta(hours=1), finalized=True)


def test_an_order_without_expiry_lives_for_a_week() -> None:
    """Where the CA does not say when an order expires, a week from its start is the end."""
    order = an_order(Phase.PLACED, expires_in=None)
    assert order.start_time + LONGEST_LIFE == expiry(order)
    assert Step.ABANDON is next_step(order, RemoteStatus.PROCESSING, answered=False, now=order.start_time + LONGEST_LIFE)


@pytest.mark.parametrize(
    ("expires", "persisted"),
    [
        (None, None),
        (NOW + timedelta(days=7), NOW + timedelta(days=7)),
        (NOW + timedelta(seconds=1), NOW + timedelta(seconds=1)),
        (NOW, NOW + UNCERTAIN_LIFE),
        (NOW - timedelta(days=400), NOW + UNCERTAIN_LIFE),
    ],
)
def test_an_expiry_behind_us_is_not_believed(expires: datetime | None, persisted: datetime | None) -> None:
    """An order that is just given out has not expired: when its expiry is behind us our clock or the CA's is wrong."""
    assert persisted == expiry_by_our_clock(expires, NOW)


@pytest.mark.parametrize(("asked", "seconds"), [(0.0, LOOK_AGAIN), (600.0, 600.0), (86400.0, 3600.0)])
def test_when_a_slow_order_is_read_again(asked: float, seconds: float) -> None:
    """As the CA asks, a minute at least, and at the order's expiry at the latest."""
    assert seconds == look_again(an_order(Phase.FINALIZING), asked, NOW)
