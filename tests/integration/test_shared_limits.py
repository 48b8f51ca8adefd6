"""Several processes before one CA, on a real Valkey: together they never do more than its limits allow."""

import asyncio
import json
import sys
import time
from pathlib import Path

import pytest

from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_limits import RedisRateLimits
from controlplane.core.ca_profile import parse_ca_profile
from controlplane.core.token_bucket import SECOND, Bucket, Draw, Refusal
from controlplane.usecases.ca_gate import Admitted
from tests.integration.workers_at_the_gate import CA, gate_of

PROFILE = """
name = "narrow"
figures = 2026-11-01
[[limit]]
name = "orders"
scope = "ACCOUNT"
counts = "ORDERS"
capacity = ORDERS
refill_seconds = 3600
[[limit]]
name = "certificates"
scope = "REGISTERED_DOMAIN"
counts = "CERTIFICATES"
capacity = CERTIFICATES
refill_seconds = 3600
[requests.other]
per_second = 200
burst = 40
"""
PROCESSES = 4
DOMAINS = [f"d{number}.example" for number in range(12)]


def narrow(*, orders: int = 60, certificates: int = 7) -> str:
    """A profile with these limits of an account, and of each registered domain."""
    return PROFILE.replace("ORDERS\nrefill", f"{orders}\nrefill").replace("CERTIFICATES\nrefill", f"{certificates}\nrefill")


async def workers(tmp_path: Path, url: str, text: str, what: str, argument: str) -> list[dict]:
    """Runs processes at once and returns what each of them says."""
    profile = tmp_path / "narrow.toml"
    profile.write_text(text)
    # Their imports take a while: they begin together at a time that is certainly after that.
    begin = str(time.time() + 4)
    module = "tests.integration.workers_at_the_gate"
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, url, str(profile), what, str(number), argument, begin, stdout=asyncio.subprocess.PIPE
        )
        for number in range(PROCESSES)
    ]
    said = await asyncio.wait_for(asyncio.gather(*(process.communicate() for process in started)), 60)
    assert [0] * PROCESSES == [process.returncode for process in started]
    return [json.loads(output) for output, _ in said]


@pytest.mark.parametrize(("orders", "certificates", "expected"), [(60, 4, 48), (30, 7, 30)])
async def test_processes_share_the_limits_of_orders(
    valkey_url: str, tmp_path: Path, orders: int, certificates: int, expected: int
) -> None:  # fmt: skip
    """Four processes that ask for 100 orders each at once get exactly as many as the account and the registered domains allow."""
    text = narrow(orders=orders, certificates=certificates)
    said = await workers(tmp_path, valkey_url, text, "orders", "100")
    admitted = [name for each in said for name in each["admitted"]]
    by_domain = {domain: sum(name.endswith(f".{domain}") for name in admitted) for domain in DOMAINS}
    assert expected == len(admitted)
    assert max(by_domain.values()) <= certificates
    assert 400 - expected == sum(sum(each["held"].values()) for each in said)
    # Whoever was refused has taken nothing: what is left is what was not admitted.
    client = connect(valkey_url)
    shown = (await gate_of(client, parse_ca_profile(text, "narrow")).levels([f"n.{domain}" for domain in DOMAINS], "account")).limits
    left = {each.subject: each.available for each in shown}
    assert {"": orders - expected} | {domain: certificates - count for domain, count in by_domain.items()} == left
    await client.aclose()


async def test_processes_share_the_rate_of_requests(valkey_url: str, tmp_path: Path) -> None:
    """Four busy processes send no more requests than burst and rate allow together, nor much less, and do not besiege the store."""
    said = await workers(tmp_path, valkey_url, narrow(), "requests", "2.0")
    sent = sum(each["sent"] for each in said)
    elapsed = max(each["end"] for each in said) - min(each["begin"] for each in said)
    assert sent <= 40 + 200 * elapsed
    assert sent >= 0.5 * 200 * 2.0
    assert all(each["sent"] for each in said)
    assert sum(each["calls"] for each in said) < 3 * sent


async def test_concurrent_takes_of_one_process(valkey_url: str) -> None:
    """Takes that are under way at once never get more than there is."""
    client = connect(valkey_url)
    limits, bucket, guard = RedisRateLimits(client), Bucket("b", 25, 3600 * SECOND), Bucket("g", 1000, SECOND)
    found = await asyncio.gather(*(limits.take(CA, [Draw(guard), Draw(bucket)]) for _ in range(200)))
    assert 25 == sum(not isinstance(each, Refusal) for each in found)
    assert {1} == {each.index for each in found if isinstance(each, Refusal)}
    await client.aclose()


async def test_one_probe_of_all_processes(valkey_url: str) -> None:
    """When an open breaker's time has come, one of many that ask at once is the probe."""
    profile, clients = parse_ca_profile(narrow(), "narrow"), [connect(valkey_url) for _ in range(8)]
    gates = [gate_of(client, profile, ahead=120) for client in clients]
    await gate_of(clients[0], profile).faulty(1.0)
    asked = [each.admit([f"n.d{number}.example"], profile="", replacing=False, account_url="account") for number, each in enumerate(gates)]
    found = await asyncio.gather(*asked)
    assert [Admitted(probe=True)] == [each for each in found if isinstance(each, Admitted)]
    assert 59 == await gates[0].room("account")
    for client in clients:
        await client.aclose()
