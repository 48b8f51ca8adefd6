"""`certplane account`, as an operator runs it: a real Valkey, a real Pebble, the worker's keys."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from josepy.json_util import encode_b64jose

from controlplane.adapters import redis_keys
from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.adapters.redis_client import connect
from controlplane.core.failure import ACCOUNT_UNUSABLE
from controlplane.core.keyring import Role
from controlplane.core.ports import AcmeError
from controlplane.embedded.pebble import Pebble
from tests.fakes.work import utc_now


@dataclass
class Operator:
    """An installation with a worker that runs, and a person at the command line."""

    pebble: Pebble
    redis_url: str
    directory: Path
    worker: AcmeClient
    accounts: RedisAccountStore
    keys: LiveKeys
    said: list[str] = field(default_factory=list)

    async def run(self, *arguments: str, keys: str = "worker", store: bool = True, ca: bool = True) -> tuple[int, str]:
        """Runs `certplane account`; returns exit status and all output."""
        named = [f"--keys-dir={self.directory / keys}"] if keys else []
        named += [f"--redis-url={self.redis_url}"] if store else []
        named += [f"--acme-directory={self.pebble.directory_url}", f"--acme-ca-bundle={self.pebble.ca_bundle}"] if ca else []
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "controlplane.cli.main", "account", *arguments, *named],
            capture_output=True,
            text=True,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        return done.returncode, self.said[-1]

    async def shown(self) -> dict[str, Any]:
        """What `show --json` says."""
        status, text = await self.run("show", "--json")
        assert 0 == status, text
        return json.loads(text)

    async def secrets(self) -> list[str]:
        """The account key that is in force, in the spellings that a careless program would show."""
        record = await self.accounts.get(self.pebble.directory_url)
        assert record is not None
        private = self.worker.account_changes._keys.open_account_key(record).key.private_numbers().private_value.to_bytes(32, "big")
        return [private.hex(), encode_b64jose(private), str(int.from_bytes(private, "big"))]


@pytest.fixture
async def operator(valkey_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """An installation made by `keys generate`, and a Pebble."""
    made = [sys.executable, "-m", "controlplane.cli.main", "keys", "generate", f"--serve-dir={tmp_path}/serve"]
    subprocess.run([*made, f"--worker-dir={tmp_path}/worker"], check=True, capture_output=True)
    keys, client = LiveKeys(tmp_path / "worker", Role.WORKER), connect(valkey_url)
    accounts = RedisAccountStore(client, keys)
    async with Pebble(tmp_path) as pebble:
        worker = AcmeClient(
            pebble.directory_url,
            accounts=accounts,
            sealer=keys,
            opener=keys,
            clock=utc_now,
            ca_bundle=str(pebble.ca_bundle),
            contact="a@x.com",
        )
        yield Operator(pebble, valkey_url, tmp_path, worker, accounts, keys)
        await worker.close()
    await client.aclose()


async def test_the_life_of_an_account(operator: Operator) -> None:
    """List, show, rollover, contact, deactivation and forgetting do what they say while a worker runs, and never show a key."""
    status, text = await operator.run("list", ca=False)
    assert (0, "There is no account in the store.\n") == (status, text)
    url = await operator.worker.ensure_account()
    secrets = await operator.secrets()
    first = await operator.shown()
    assert (url, "VALID", ["mailto:a@x.com"], "valid") == tuple(
        first[each] for each in ("accountUrl", "status", "contact", "statusAtTheCa")
    )
    assert first["termsOfService"] == first["termsOfServiceNow"] != ""

    status, text = await operator.run("rollover")
    second = await operator.shown()
    assert (0, True) == (status, second["keySha256"][:16] in text), text
    assert (url, True) == (second["accountUrl"], second["keySha256"] != first["keySha256"])
    assert "pending" == (await operator.worker.new_order(["shop.example.com"])).status
    secrets += await operator.secrets()

    status, text = await operator.run("update-contact", "--acme-contact=new@example.com")
    assert (0, True) == (status, "mailto:new@example.com" in text), text
    assert ["mailto:new@example.com"] == (await operator.shown())["contactAtTheCa"]

    status, text = await operator.run("list", ca=False)
    assert (0, 1, 1) == (status, text.count(url), text.count("VALID")), text

    status, text = await operator.run("deactivate", "--yes")
    assert (0, True) == (status, "is deactivated" in text), text
    with pytest.raises(AcmeError) as caught:
        await operator.worker.new_order(["shop.example.com"])
    assert ACCOUNT_UNUSABLE == caught.value.problem.type
    status, text = await operator.run("rollover")
    assert (1, True) == (status, "is deactivated" in text), text

    status, text = await operator.run("forget", "--yes", keys="")
    assert (0, True) == (status, "is forgotten" in text), text
    assert url != await operator.worker.ensure_account()
    assert [] == [secret for secret in secrets if any(secret in text for text in operator.said)]


async def test_a_list_is_json_on_demand(operator: Operator) -> None:
    """`list --json` has every field of each account; one that is not authentic is told apart, by exit status too."""
    await operator.worker.ensure_account()
    status, text = await operator.run("list", "--json", ca=False)
    (listed,) = json.loads(text)["accounts"]
    assert (0, operator.pebble.directory_url, "VALID") == (status, listed["directory"], listed["status"])
    client = connect(operator.redis_url)
    await client.set(redis_keys.account("https://other.example/dir"), b"junk")
    await client.aclose()
    status, text = await operator.run("list", "--json", ca=False)
    assert (1, 1, 1) == (status, len(json.loads(text)["accounts"]), len(json.loads(text)["unreadable"]))
    status, text = await operator.run("list", ca=False)
    assert (1, True) == (status, "is not believed" in text), text


async def test_what_cannot_be_done_is_told_plainly(operator: Operator) -> None:
    """No account, the wrong role's keys, a CA that is away: one line each, exit status 1, no traceback."""
    status, text = await operator.run("rollover")
    assert (1, True) == (status, "does not exist" in text), text
    await operator.worker.ensure_account()
    status, text = await operator.run("rollover", keys="serve")
    assert (1, 1) == (status, len(text.strip().splitlines())), text
    await operator.pebble.kill_authority()
    status, text = await operator.run("rollover")
    assert (1, True, False) == (status, "no connection to the CA" in text, "Traceback" in text), text
    record = await operator.accounts.get(operator.pebble.directory_url)
    assert record is not None
    assert record.successor is not None
    status, text = await operator.run("list", ca=False)
    assert (0, True) == (status, "ROLLOVER PENDING" in text), text
    assert "not known: no connection" in (await operator.shown())["statusAtTheCa"]


async def test_a_question_is_asked_before_what_cannot_be_undone(operator: Operator) -> None:
    """Without --yes, and with nobody to answer, neither `deactivate` nor `forget` does anything."""
    await operator.worker.ensure_account()
    before = await operator.accounts.get(operator.pebble.directory_url)
    for arguments, keys in ((("deactivate",), "worker"), (("forget",), "")):
        status, text = await operator.run(*arguments, keys=keys)
        assert (1, True) == (status, "Aborted" in text), text
    assert before == await operator.accounts.get(operator.pebble.directory_url)


async def test_one_of_several_cas_by_its_name(operator: Operator) -> None:
    """With --certificate-authorities the command takes the directory and the roots from the file."""
    await operator.worker.ensure_account()
    path = operator.directory / "cas.toml"
    path.write_text(
        f'[[certificate_authority]]\nname = "other"\ndirectory = "https://other.example/dir"\n'
        f'[[certificate_authority]]\nname = "mine"\ndirectory = "{operator.pebble.directory_url}"\n'
        f'ca_bundle = "{operator.pebble.ca_bundle.name}"\n'
    )
    file = f"--certificate-authorities={path}"
    status, text = await operator.run("show", "--json", file, "--certificate-authority=mine", ca=False)
    assert (0, "mine") == (status, json.loads(text)["certificateAuthority"]), text
    status, text = await operator.run("update-contact", file, "--certificate-authority=mine", "--acme-contact=", ca=False)
    assert (0, True) == (status, "is now nobody" in text), text
    assert datetime.now(UTC).strftime("%Y-%m-%d") in (await operator.shown())["createTime"]
