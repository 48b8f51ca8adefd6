"""`certplane domains` against a running API."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from controlplane.adapters.private_pki import PrivateCa, make_tls_identity
from controlplane.cli.domains import domains
from controlplane.core.managed_domain import Actor, DomainState, DomainStatus, Problem
from controlplane.core.names import DomainName
from controlplane.endpoints.grpc_server import TlsFiles
from tests.fakes.domain_api import DEADLINE, NOW, RunningApi, running_api

SHOP = "shop.example.com"
Run = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def api() -> AsyncIterator[RunningApi]:
    """The API with nothing in it; its log goes nowhere."""
    with structlog.testing.capture_logs():
        async with running_api() as running:
            yield running


async def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    """Runs the command in a thread beside the server's loop."""
    return await asyncio.to_thread(CliRunner().invoke, domains, list(arguments), env=env)


@pytest.fixture
def run(api: RunningApi) -> Run:
    """Runs the command against the API; fails when it shows a traceback or raises something of its own."""

    async def run(*arguments: str) -> Result:
        result = await invoke(*arguments, env={"CERTPLANE_API_ADDRESS": api.address})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


def lines(result: Result) -> dict[str, str]:
    """The properties that a domain is described with."""
    assert result.exit_code == 0, result.output
    return dict(line.strip().split("  ", 1) for line in result.stdout.splitlines()[1:])


async def test_create_and_get(run: Run) -> None:
    """A domain is created with all its settings and shown in words, one aligned line a property."""
    settings = ("--tenant", "acme", "--additional-name", f"www.{SHOP}", "--label", "tier=gold", "--label", "team=a=b")
    created = await run("create", "SHOP.example.com", *settings)
    assert created.exit_code == 0
    assert created.stdout.splitlines()[0] == SHOP
    got = await run("get", SHOP)
    assert got.stdout == created.stdout
    shown = {key: value.strip() for key, value in lines(got).items()}
    assert shown["state"] == "pending: no certificate yet, work goes on"
    assert shown["tenant"] == "acme"
    assert shown["also for"] == f"www.{SHOP}"
    assert shown["labels"] == "team=a=b, tier=gold"
    assert shown["created"] == "2026-11-24 12:00:00 UTC"
    assert (await run("get", f"domains/{SHOP}")).stdout == got.stdout


async def test_json(run: Run) -> None:
    """`--output json` is the API's JSON, wherever the option stands."""
    created = json.loads((await run("create", SHOP, "--tenant", "acme", "--output", "json")).stdout)
    assert created["name"] == f"domains/{SHOP}"
    assert created["createTime"] == "2026-11-24T12:00:00Z"
    assert created == json.loads((await run("--output", "json", "get", SHOP)).stdout)
    assert json.loads((await run("list", "--output", "json")).stdout) == {"domains": [created]}
    assert json.loads((await run("delete", SHOP, "--output", "json")).stdout) == {}
    assert json.loads((await run("list", "--output", "json")).stdout) == {"domains": []}


async def test_who_must_act(api: RunningApi, run: Run) -> None:
    """A failure is shown with its reason and who must act, and nothing in it can command the terminal."""
    await run("create", SHOP)
    problem = Problem("urn:ietf:params:acme:error:caa", "CAA says \x1b[2Jno", Actor.CUSTOMER, NOW)
    await api.domains.put_status(SHOP, DomainStatus(state=DomainState.FAILED, attempt_count=3, last_error=problem))
    result = await run("get", SHOP)
    shown = {key: value.strip() for key, value in lines(result).items()}
    assert shown["state"] == "failed: there is no certificate to serve"
    assert shown["last error"] == "CAA says \N{REPLACEMENT CHARACTER}[2Jno"
    assert shown["who must act"] == "the owner of the domain must act (DNS, CAA or a firewall)"
    assert shown["failures"] == "3 since the last success"
    assert "\x1b" not in result.output


async def test_list(api: RunningApi, run: Run) -> None:
    """A listing has all pages in one aligned table, and follows the filter."""
    for number in range(5):
        await run("create", f"d{number}.example.com", "--tenant", "acme")
    await api.domains.put_status("d3.example.com", DomainStatus(state=DomainState.ACTIVE, expire_time=NOW + timedelta(days=90)))
    result = await run("list", "--page-size", "2")
    heading, *rows = result.stdout.splitlines()
    assert [row.split()[0] for row in rows] == [f"d{number}.example.com" for number in range(5)]
    assert {heading.index("STATE")} == {row.index(state) for row, state in zip(rows, ["pending"] * 3 + ["active", "pending"], strict=True)}
    assert rows[3].split() == ["d3.example.com", "active", "2027-02-22", "acme"]
    filtered = await run("list", "--filter", "state = ACTIVE", "--output", "json")
    assert [domain["name"] for domain in json.loads(filtered.stdout)["domains"]] == ["domains/d3.example.com"]
    assert (await run("list", "--filter", "state = PAUSED")).output == "no such domains\n"


async def test_delete(run: Run) -> None:
    """A stale etag keeps the domain, the right one deletes it."""
    etag = json.loads((await run("create", SHOP, "--output", "json")).stdout)["etag"]
    stale = await run("delete", SHOP, "--etag", "old-1")
    assert stale.exit_code == 1
    assert stale.stderr.startswith("Error: ABORTED: ")
    assert (await run("delete", SHOP, "--etag", etag)).stdout == f"deleted {SHOP}\n"
    missing = await run("get", SHOP)
    assert (missing.exit_code, missing.stderr) == (1, f"Error: NOT_FOUND: domains/{SHOP} does not exist\n")


async def test_renew(api: RunningApi, run: Run) -> None:
    """A renewal is asked for."""
    await run("create", SHOP)
    assert (await run("renew", SHOP)).exit_code == 0
    stored = await api.domains.get(DomainName(SHOP))
    assert stored is not None
    assert stored.renewal_requested


async def test_renew_many_over_a_time(api: RunningApi, run: Run) -> None:
    """All domains of a filter are asked to renew, spread evenly over the time given; others are left alone."""
    for number in range(4):
        await run("create", f"shop{number}.example.com", "--tenant", "acme")
    await run("create", "other.example.com", "--tenant", "other")
    result = await run("renew", "--filter", "tenant = acme", "--over", "14d")
    assert (0, True) == (result.exit_code, "4 renewals asked for" in result.stdout), result.output
    times = []
    for number in range(4):
        stored = await api.domains.get(DomainName(f"shop{number}.example.com"))
        assert stored is not None
        times.append(stored.requested_renewal_time)
    asked = sorted(time for time in times if time is not None)
    assert [timedelta(days=3.5)] * 3 == [later - earlier for earlier, later in pairwise(asked)]
    other = await api.domains.get(DomainName("other.example.com"))
    assert other is not None
    assert not other.renewal_requested


async def test_renew_wants_a_name_or_a_filter(run: Run) -> None:
    """Neither and both are refused."""
    assert (2, 2) == ((await run("renew")).exit_code, (await run("renew", SHOP, "--filter", "tenant = acme")).exit_code)


async def test_refusals(run: Run) -> None:
    """A refused request ends with status 1 and one line for each field that is wrong."""
    result = await run("create", "*.example.com", "--tenant", "ACME")
    assert result.exit_code == 1
    assert result.stdout == ""
    first, *rest = result.stderr.splitlines()
    assert first == "Error: the request was refused:"
    assert {line.split(":")[0] for line in rest} == {"  domain_id", "  domain.tenant"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", SHOP, "--label", "x"),
        ("create", SHOP, "--label", "a=1", "--label", "a=2"),
        ("list", "--page-size", "0"),
        ("x",),
    ],
)
async def test_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """Wrong usage ends with status 2."""
    assert (await run(*arguments)).exit_code == 2


async def test_nobody_there() -> None:
    """When nobody listens the message says where it looked, and the status is 1."""
    result = await invoke("list", "--api-address", "127.0.0.1:1")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: no answer from the API at 127.0.0.1:1 ")


async def test_address_from_everywhere(api: RunningApi, tmp_path: Path) -> None:
    """The address may stand before or behind the command, in the environment or in a file; what is said more expressly wins."""
    config = tmp_path / "certplane.toml"
    config.write_text(f'api-address = "{api.address}"\n')
    wrong = {"CERTPLANE_API_ADDRESS": "127.0.0.1:1"}
    assert (await invoke("--api-address", api.address, "list", env=wrong)).exit_code == 0
    assert (await invoke("list", "--api-address", api.address, env=wrong)).exit_code == 0
    assert (await invoke("list", "--config", str(config))).exit_code == 0
    assert (await invoke("--config", str(config), "list")).exit_code == 0
    assert (await invoke("list", "--config", str(config), env=wrong)).exit_code == 1


async def becomes(api: RunningApi, status: DomainStatus) -> None:
    """Waits until the domain exists, then does what a worker would."""
    async with asyncio.timeout(DEADLINE):
        while await api.domains.get(DomainName(SHOP)) is None:
            await asyncio.sleep(0.01)
    await api.domains.put_status(SHOP, DomainStatus(current_step="challenge"))
    await api.domains.put_status(SHOP, status)


async def test_wait(api: RunningApi, run: Run) -> None:
    """`create --wait` returns once there is a certificate."""
    worker = asyncio.create_task(becomes(api, DomainStatus(state=DomainState.ACTIVE, certificate_id="c1")))
    result = await run("create", SHOP, "--wait", "--wait-timeout", str(DEADLINE))
    await worker
    assert result.exit_code == 0
    assert {key: value.strip() for key, value in lines(result).items()}["certificate"] == "c1"


async def test_wait_for_a_failure(api: RunningApi, run: Run) -> None:
    """`create --wait` ends with status 1 when the first attempt fails, and says why and who must act."""
    problem = Problem("urn:certplane:error:dns", "no address", Actor.CUSTOMER, NOW)
    worker = asyncio.create_task(becomes(api, DomainStatus(state=DomainState.FAILED, last_error=problem)))
    result = await run("create", SHOP, "--wait", "--wait-timeout", str(DEADLINE))
    await worker
    assert result.exit_code == 1
    assert "no address; the owner of the domain must act" in result.stderr
    assert result.stderr.splitlines()[-1] == f"Error: {SHOP} is failed: there is no certificate to serve"


async def test_wait_in_vain(run: Run) -> None:
    """`create --wait` gives up after its time, with status 1, and says that work goes on."""
    result = await run("create", SHOP, "--wait", "--wait-timeout", "1")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"Error: after 1 seconds {SHOP} is pending")


async def test_watch(api: RunningApi, run: Run) -> None:
    """`watch` prints a line for each domain, for the end of the snapshot and for each change, until it is interrupted."""
    await run("create", SHOP)
    command = "from controlplane.cli.domains import domains; domains()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", command, "watch", "--api-address", api.address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(3 * DEADLINE):
            assert await process.stdout.readline() == f"{SHOP}: pending: no certificate yet, work goes on\n".encode()
            assert await process.stdout.readline() == b"-- that is all there is now; changes follow --\n"
            await api.domains.put_status(SHOP, replace(DomainStatus(), state=DomainState.ACTIVE))
            assert await process.stdout.readline() == f"{SHOP}: active: a valid certificate is served\n".encode()
            await run("delete", SHOP)
            assert await process.stdout.readline() == f"{SHOP}: deleted\n".encode()
            process.send_signal(signal.SIGINT)
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (130, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_tls(tmp_path: Path) -> None:
    """With the CA, a certificate and its key the command speaks TLS; without them it is told that it may lack TLS."""
    now = datetime.now(UTC)
    ca = PrivateCa.create(now)
    files = {}
    for role in ("server", "client"):
        identity = make_tls_identity(ca, role, now, hosts=("127.0.0.1",), server=role == "server", client=role == "client")
        files[role] = TlsFiles(tmp_path / "ca.pem", tmp_path / f"{role}.pem", tmp_path / f"{role}-key.pem")
        files[role].ca.write_bytes(identity.ca_certificate)
        files[role].certificate.write_bytes(identity.certificate)
        files[role].private_key.write_bytes(identity.private_key.reveal())
    client = files["client"]
    options = ("--api-ca", str(client.ca), "--api-cert", str(client.certificate), "--api-key", str(client.private_key))
    with structlog.testing.capture_logs():
        async with running_api(tls=files["server"]) as api:
            assert (await invoke("list", "--api-address", api.address, *options)).exit_code == 0
            plain = await invoke("list", "--api-address", api.address)
            assert plain.exit_code == 1
            assert "do both sides use TLS" in plain.stderr
            assert (await invoke("list", "--api-address", api.address, *options[:4])).exit_code == 2
