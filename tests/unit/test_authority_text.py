"""CAs as people read them."""

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.cli.authority_text import authority_lines

STATE = fleet_pb2.CertificateAuthority.BreakerState


def test_no_report() -> None:
    """Without a worker it is said that the CAs are not known, and why."""
    assert ["certificate authorities  not known: no worker has reported them within the last minute"] == list(authority_lines([]))


def test_table_of_cas_and_table_of_limits() -> None:
    """A line for each CA, then a line for each limit: what is left, and when all of it is there again."""
    limited = fleet_pb2.CertificateAuthority(name="letsencrypt", breaker_state=STATE.BREAKER_STATE_CLOSED, new_orders_allowed=1288)
    limited.order_interval.FromMilliseconds(21_600)
    used = limited.limits.add(name="new-orders", available=1288, capacity=1300)
    used.full_time.FromJsonString("2026-11-24T12:07:12Z")
    unused = limited.limits.add(name="registrations", available=10, capacity=10)
    unused.full_time.FromJsonString("2026-11-24T12:00:00Z")
    blocked = limited.limits.add(name="certificates", available=0, capacity=5)
    blocked.full_time.FromJsonString("2026-11-24T12:07:12Z")
    blocked.blocked_until_time.FromJsonString("2026-11-24T15:00:00Z")
    broken = fleet_pb2.CertificateAuthority(name="b", breaker_state=STATE.BREAKER_STATE_OPEN)
    broken.breaker_until_time.FromJsonString("2026-11-24T12:05:00Z")
    trying = fleet_pb2.CertificateAuthority(name="c\x1b[2J", breaker_state=STATE.BREAKER_STATE_HALF_OPEN, new_orders_allowed=0)
    first, *lines = authority_lines([limited, broken, trying])
    assert "CERTIFICATE AUTHORITY  BREAKER                             NEW ORDERS LEFT  THEN ONE IN" == first
    assert [
        "letsencrypt            closed                              1,288            21.6s",
        "b                      open until 2026-11-24 12:05:00 UTC  any number",
    ] == lines[:2]
    assert lines[2].startswith("c")
    assert "\x1b" not in lines[2]
    assert ["half-open", "0"] == lines[2].split()[-2:]
    assert [
        "",
        "CERTIFICATE AUTHORITY  LIMIT          AVAILABLE       ALL AVAILABLE",
        "letsencrypt            new-orders     1,288 of 1,300  2026-11-24 12:07:12 UTC",
        "letsencrypt            registrations  10 of 10        now",
        "letsencrypt            certificates   0 of 5          blocked until 2026-11-24 15:00:00 UTC",
    ] == lines[3:]


def test_no_limits() -> None:
    """CAs without limits have no second table."""
    assert 2 == len(list(authority_lines([fleet_pb2.CertificateAuthority(name="pebble", breaker_state=STATE.BREAKER_STATE_CLOSED)])))
