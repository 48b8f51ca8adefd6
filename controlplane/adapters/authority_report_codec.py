"""Reports of CAs to and from certplane.store.v1."""

import math
from datetime import UTC, datetime

from google.protobuf.message import DecodeError

from controlplane.adapters.stored_times import get_time, optional_time, stored_time
from controlplane.api.certplane.store.v1.authority_report_pb2 import AuthorityReport as ReportMessage
from controlplane.api.certplane.store.v1.authority_report_pb2 import ReportedLimit as LimitMessage
from controlplane.core.authority_report import AuthorityReport, ReportedLimit
from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import Scope
from controlplane.core.errors import RecordRejected

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_authority_report(report: AuthorityReport) -> bytes:
    """Serialises a report."""
    message = ReportMessage(
        name=report.name,
        directory_url=report.directory_url,
        account_url=report.account_url,
        preference=report.preference,
        for_all_tenants=report.for_all_tenants,
        breaker=report.breaker,
        breaker_until=stored_time(report.breaker_until),
        room=report.room,
        seconds_per_order=report.seconds_per_order,
        exempts_renewals=report.exempts_renewals,
        orders_per_second=report.orders_per_second,
        report_time=stored_time(report.report_time),
        limits=[
            LimitMessage(
                name=limit.name,
                scope=limit.scope,
                capacity=limit.capacity,
                available=limit.available,
                full_time=stored_time(limit.full_time),
                blocked_until=stored_time(limit.blocked_until),
            )
            for limit in report.limits
        ],
    )
    return message.SerializeToString()


def decode_authority_report(data: bytes) -> AuthorityReport:
    """Reads a report.

    Raises:
        RecordRejected: it cannot be read, or says what no worker does.
    """
    try:
        message = ReportMessage.FromString(data)
        return AuthorityReport(
            name=message.name,
            directory_url=message.directory_url,
            account_url=message.account_url,
            preference=message.preference,
            for_all_tenants=message.for_all_tenants,
            breaker=BreakerState(message.breaker),
            breaker_until=optional_time(message, "breaker_until"),
            room=int(_amount(message.room)) if message.HasField("room") else None,
            seconds_per_order=_amount(message.seconds_per_order),
            exempts_renewals=message.exempts_renewals,
            orders_per_second=_amount(message.orders_per_second) if message.HasField("orders_per_second") else None,
            limits=tuple(
                ReportedLimit(
                    limit.name,
                    Scope(limit.scope),
                    int(_amount(limit.capacity)),
                    int(_amount(limit.available)),
                    get_time(limit.full_time),
                    optional_time(limit, "blocked_until"),
                )
                for limit in message.limits
            ),
            report_time=get_time(message.report_time),
        )
    except (DecodeError, ValueError, OverflowError) as error:
        raise RecordRejected("a stored report of a CA cannot be read") from error


def _amount(value: float) -> float:
    if not 0 <= value < math.inf:
        raise ValueError("an amount is below zero, or is no number")
    return value
