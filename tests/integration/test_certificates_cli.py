"""`certplane certificates` against a running API."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result
from cryptography import x509

from controlplane.cli.certificates import certificates
from controlplane.core.managed_domain import DomainStatus
from controlplane.core.names import DomainName
from tests.fakes import samples
from tests.fakes.management_api import ManagementApi, management_api

SHOP = "shop.example.com"
Run = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def api() -> AsyncIterator[ManagementApi]:
    """The API with nothing in it; its log goes nowhere."""
    with structlog.testing.capture_logs():
        async with management_api() as running:
            yield running


@pytest.fixture
def run(api: ManagementApi) -> Run:
    """Runs the command in a thread beside the server's loop; fails when it shows a traceback or raises something of its own."""

    async def run(*arguments: str) -> Result:
        result = await asyncio.to_thread(CliRunner().invoke, certificates, list(arguments), env={"CERTPLANE_API_ADDRESS": api.address})
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


def properties(result: Result) -> dict[str, str]:
    """What is said of a certificate, by label; its id under an empty one."""
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    parts = (line.strip().partition("  ") for line in lines)
    return {"": first} | {label: value.strip() for label, _, value in parts}


async def test_get(api: ManagementApi, run: Run) -> None:
    """A certificate is shown by its id, its name, its fingerprint as other tools print it, or its domain, with one meaning."""
    before = await api.issue(SHOP)
    record = await api.issue(SHOP, "www.shop.example.com")
    digest = hashlib.sha256(record.leaf).hexdigest()
    colons = ":".join(digest[index : index + 2] for index in range(0, 64, 2)).upper()
    shown = properties(await run("get", SHOP))
    assert (record.id, "in force", SHOP, f"{SHOP}, www.shop.example.com") == (shown[""], shown["state"], shown["domain"], shown["names"])
    assert ("letsencrypt", digest, before.id, "2026-01-01 00:00:00 UTC") == (
        shown["authority"],
        shown["SHA-256"],
        shown["before it"],
        shown["valid from"],
    )
    assert "revocation" not in shown
    for name in (record.id, f"certificates/{record.id}", digest, colons, f"domains/{SHOP}"):
        assert shown == properties(await run("get", name))
    assert shown == properties(await run("get", record.id, "--domain", SHOP))
    assert "replaced" in properties(await run("get", before.id))["state"]


async def test_get_as_json_and_pem(api: ManagementApi, run: Run) -> None:
    """JSON is as in the API; PEM is the chain and nothing else."""
    record = await api.issue(SHOP)
    assert f"certificates/{record.id}" == json.loads((await run("get", SHOP, "--output", "json")).stdout)["name"]
    chain = x509.load_pem_x509_certificates((await run("get", SHOP, "--pem")).stdout.encode())
    assert [x509.load_der_x509_certificate(each) for each in (record.leaf, *record.intermediates)] == chain


async def test_list(api: ManagementApi, run: Run) -> None:
    """Certificates are a table, one a line, of all pages; a filter is passed on."""
    records = [await api.issue(f"d{number}.example.com", tenant=f"t{number}") for number in range(3)]
    lines = [line.split() for line in (await run("list", "--page-size", "1")).stdout.splitlines()]
    assert ["DOMAIN", "EXPIRES", "TENANT", "AUTHORITY", "CERTIFICATE"] == lines[0]
    end = f"{records[0].not_after:%Y-%m-%d}"
    assert [[f"d{index}.example.com", end, f"t{index}", "letsencrypt", record.id] for index, record in enumerate(records)] == lines[1:]
    listed = json.loads((await run("list", "--filter", "tenant = t1", "--output", "json")).stdout)["certificates"]
    assert [f"certificates/{records[1].id}"] == [certificate["name"] for certificate in listed]


async def test_empty_list(run: Run) -> None:
    """No certificates is a line on standard error."""
    result = await run("list")
    assert (0, "", "no certificates\n") == (result.exit_code, result.stdout, result.stderr)
    assert "no such certificates\n" == (await run("list", "--filter", "tenant = t1")).stderr


@pytest.mark.parametrize(("reason", "code"), [("unspecified", 0), ("key-compromise", 1), ("superseded", 4), ("cessation-of-operation", 5)])
async def test_revoke(api: ManagementApi, run: Run, reason: str, code: int) -> None:
    """A revocation is asked for with its reason, and shown as pending, then as done."""
    record = await api.issue(SHOP)
    shown = properties(await run("revoke", SHOP, "--reason", reason))
    assert f"pending; asked for at 2026-11-24 12:00:00 UTC, reason {reason}" == shown["revocation"]
    domain = await api.domains.get(DomainName(SHOP))
    assert domain is not None
    assert domain.spec.revocation is not None
    assert (record.id, code) == (domain.spec.revocation.certificate_id, domain.spec.revocation.reason)
    await api.domains.put_status(SHOP, DomainStatus(certificate_id=record.id, revocation_done_time=api.clock()))
    assert properties(await run("get", record.id))["revocation"].startswith("done;")


async def test_revoke_needs_a_reason(api: ManagementApi, run: Run) -> None:
    """What is to be done depends on it, so none is assumed."""
    await api.issue(SHOP)
    assert 2 == (await run("revoke", SHOP)).exit_code


async def test_failures_are_told(api: ManagementApi, run: Run) -> None:
    """A domain without a certificate, an unknown domain and an unknown certificate are a message and exit status 1."""
    await api.domains.create(samples.spec("new.example.com"), DomainStatus())
    for arguments, words in (
        (("get", "new.example.com"), "new.example.com has no certificate"),
        (("get", "other.example.com"), "NOT_FOUND: domains/other.example.com does not exist"),
        (("get", "0" * 32), f"NOT_FOUND: certificates/{'0' * 32} does not exist"),
        (("revoke", "0" * 32, "--domain", "new.example.com", "--reason", "superseded"), "FAILED_PRECONDITION"),
    ):
        result = await run(*arguments)
        assert (1, True) == (result.exit_code, words in result.stderr), result.stderr
