"""External Account Binding (RFC 8555 section 7.3.4): against a Pebble that wants it, and against the `acme` package's own."""

import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwa import ES256, HS256, HS384, HS512
from josepy.jwk import JWKEC
from structlog.testing import capture_logs

from controlplane.adapters.acme_account_jws import external_account_binding, key_change
from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.mac_key_file import read_external_account
from controlplane.core.errors import ConfigurationError
from controlplane.core.external_account import ExternalAccount, MacAlgorithm
from controlplane.core.failure import ACME
from controlplane.core.ports import AcmeError
from controlplane.core.redacted import SecretBytes
from controlplane.embedded.pebble import Pebble
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.sealing import sealer_and_opener
from tests.fakes.work import utc_now

KEY_ID, MAC_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
URL = "https://ca.example/new-account"


@dataclass
class World:
    """A Pebble that makes accounts only for those who have one elsewhere."""

    pebble: Pebble
    accounts: InMemoryAccounts
    clients: list[AcmeClient]

    def client(self, external: ExternalAccount | None) -> AcmeClient:
        """A client with this external account, or with none."""
        sealer, opener = sealer_and_opener()
        client = AcmeClient(
            self.pebble.directory_url,
            accounts=self.accounts,
            sealer=sealer,
            opener=opener,
            clock=utc_now,
            ca_bundle=str(self.pebble.ca_bundle),
            external_account=external,
        )
        self.clients.append(client)
        return client


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """It runs."""
    async with Pebble(tmp_path, external_accounts={KEY_ID: MAC_KEY}) as pebble:
        made = World(pebble, InMemoryAccounts(), [])
        yield made
        for client in made.clients:
            await client.close()


def external(key: str = MAC_KEY, algorithm: MacAlgorithm = MacAlgorithm.HS256) -> ExternalAccount:
    return ExternalAccount(KEY_ID, SecretBytes(decode_b64jose(key)), algorithm)


async def test_a_ca_that_wants_an_external_account_is_told_it(world: World) -> None:
    """With the binding the account is made, and the record says to which external account it is bound."""
    await world.client(external()).ensure_account()
    assert KEY_ID == world.accounts.records[world.pebble.directory_url].external_account_key_id


async def test_without_one_nothing_is_asked_and_the_options_are_named(world: World) -> None:
    """The directory says that it is wanted: the error names what to give, and no account is asked for."""
    with pytest.raises(AcmeError) as caught:
        await world.client(None).ensure_account()
    assert f"{ACME}externalAccountRequired" == caught.value.problem.type
    assert "--acme-eab-key-id" in caught.value.problem.detail


async def test_a_wrong_mac_key_is_refused_and_shown_nowhere(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """The CA refuses the binding; neither the logs, nor the error, nor any repr has the MAC key or the account key."""
    wrong = encode_b64jose(b"not the key that the CA gave us!")
    client = world.client(external(wrong))
    with capture_logs() as logs, pytest.raises(AcmeError) as caught:
        await client.ensure_account()
    assert f"{ACME}unauthorized" == caught.value.problem.type
    told = "".join([json.dumps(logs, default=repr), repr(caught.value), str(caught.value), repr(client), repr(external(wrong))])
    told += "".join(capfd.readouterr())
    record = world.accounts.records[world.pebble.directory_url]
    key = client.account_changes._keys.open_account_key(record).to_partial_json()["d"]
    assert [] == [secret for secret in (wrong, decode_b64jose(wrong).decode(), repr(decode_b64jose(wrong)), str(key)) if secret in told]
    assert f"ExternalAccount(key_id='{KEY_ID}', algorithm=<MacAlgorithm.HS256: 'HS256'>)" == repr(external())


@pytest.mark.parametrize(("algorithm", "theirs"), [(MacAlgorithm.HS256, HS256), (MacAlgorithm.HS384, HS384), (MacAlgorithm.HS512, HS512)])
def test_a_binding_is_that_of_the_acme_package(algorithm: MacAlgorithm, theirs: object) -> None:
    """The binding has the same payload and header, and the same signature over them, as `acme.messages` makes."""
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    ours = external_account_binding(external(algorithm=algorithm), key, URL)
    directory = messages.Directory({"newAccount": URL})
    binding = messages.ExternalAccountBinding.from_data(key.public_key(), KEY_ID, MAC_KEY, directory, str(algorithm))
    assert json.loads(decode_b64jose(str(binding["payload"]))) == json.loads(decode_b64jose(ours["payload"]))
    assert {"alg": str(algorithm), "kid": KEY_ID, "url": URL} == json.loads(decode_b64jose(ours["protected"]))
    signed = f"{ours['protected']}.{ours['payload']}".encode()
    assert theirs.sign(decode_b64jose(MAC_KEY), signed) == decode_b64jose(ours["signature"])  # type: ignore[attr-defined]


def test_a_key_change_is_signed_by_the_new_key_and_has_no_nonce() -> None:
    """The inner JWS of RFC 8555 section 7.3.5: `jwk` of the new key, the URL, no nonce; account and old key inside."""
    old, new = (JWKEC(key=ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    made = key_change("https://ca.example/acct/1", old, new, "https://ca.example/key-change")
    header = json.loads(decode_b64jose(made["protected"]))
    assert {"alg": "ES256", "jwk": new.public_key().to_json(), "url": "https://ca.example/key-change"} == header
    assert {"account": "https://ca.example/acct/1", "oldKey": old.public_key().to_json()} == json.loads(decode_b64jose(made["payload"]))
    signed = f"{made['protected']}.{made['payload']}".encode()
    assert ES256.verify(new.public_key().key, signed, decode_b64jose(made["signature"]))
    assert not ES256.verify(old.public_key().key, signed, decode_b64jose(made["signature"]))


@pytest.mark.parametrize("content", [MAC_KEY, f"{MAC_KEY}\n", f"  {MAC_KEY}\r\n"])
def test_a_mac_key_file_is_read(tmp_path: Path, content: str) -> None:
    """The key is base64url on one line, whatever the editor left around it."""
    path = tmp_path / "mac"
    path.touch(mode=0o600)
    path.write_text(content)
    read = read_external_account(KEY_ID, path, MacAlgorithm.HS512)
    assert (KEY_ID, decode_b64jose(MAC_KEY), MacAlgorithm.HS512) == (read.key_id, read.mac_key.reveal(), read.algorithm)


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        (MAC_KEY, 0o640, "chmod 600"),
        (MAC_KEY, 0o604, "chmod 600"),
        ("", 0o600, "base64url"),
        ("not base64url!", 0o600, "base64url"),
        (f"{MAC_KEY}\n{MAC_KEY}", 0o600, "base64url"),
        ("A" * 5000, 0o600, "base64url"),
    ],
)
def test_a_mac_key_file_that_is_open_or_unsound_is_refused(tmp_path: Path, content: str, mode: int, told: str) -> None:
    """A file that others can read, or that holds no key, is refused without showing what is in it."""
    path = tmp_path / "mac"
    path.write_text(content)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=told) as caught:
        read_external_account(KEY_ID, path)
    assert not content or content[:12] not in str(caught.value)


def test_a_mac_key_file_must_be_a_file(tmp_path: Path) -> None:
    """A pipe does not block, and what is not there is told."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path, told in ((tmp_path / "pipe", "not a regular file"), (tmp_path / "none", "No such file")):
        with pytest.raises(ConfigurationError, match=told):
            read_external_account(KEY_ID, path)
