"""What happens to an ACME account after it was made, against a real Pebble: key, contact, deactivation, and who notices."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.acme_requests import Reply
from controlplane.adapters.acme_transport import AcmeTransport
from controlplane.core.errors import FailedPrecondition, NotFound
from controlplane.core.failure import ACCOUNT_UNUSABLE, ACME
from controlplane.core.ports import AccountRecord, AccountStatus, AcmeError, AcmeProblem, AcmeUnreachable
from tests.fakes import samples
from tests.fakes.issuer import Issuer
from tests.fakes.work import utc_now


class Killed(BaseException):
    """Stands for the death of the process."""


class MovedClock:
    """The time, and whatever a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        """The time now."""
        return utc_now() + self.ahead


def client_of(issuer: Issuer, clock: Callable[[], datetime] = utc_now) -> AcmeClient:
    """A client of another process: it shares the store and nothing else."""
    client = AcmeClient(
        issuer.pebble.directory_url,
        accounts=issuer.accounts,
        sealer=issuer.sealer,
        opener=issuer.opener,
        clock=clock,
        ca_bundle=str(issuer.pebble.ca_bundle),
    )
    issuer.clients.append(client)
    return client


def stored(issuer: Issuer) -> AccountRecord:
    return issuer.accounts.records[issuer.pebble.directory_url]


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is posted, by endpoint; a repetition after a nonce that Pebble rejects for fun is none."""
    counted: Counter[str] = Counter()
    real = AcmeTransport.post

    def post(self: AcmeTransport, endpoint: str, *arguments: object) -> Reply:
        counted[endpoint] += 1
        return real(self, endpoint, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(AcmeTransport, "post", post)
    return counted


def unusable() -> float | None:
    return REGISTRY.get_sample_value("certplane_acme_account_unusable", {"ca": "127.0.0.1"})


async def has_the_stored_key(issuer: Issuer) -> bool:
    """Whether the CA has the key that the record says, for a process that knows nothing but the record."""
    client = client_of(issuer)
    digest = stored(issuer).spki_digest
    await client.new_order(["probe.example.com"])
    return stored(issuer).successor is None and stored(issuer).spki_digest == digest


@contextmanager
def key_change_dies(monkeypatch: pytest.MonkeyPatch, *, arrives: bool) -> Iterator[None]:
    """The next keyChange is cut: before it arrives, or on the way back."""
    real = AcmeTransport.post

    def post(self: AcmeTransport, endpoint: str, *arguments: object) -> Reply:
        if endpoint != "key_change":
            return real(self, endpoint, *arguments)  # type: ignore[arg-type]
        if arrives:
            real(self, endpoint, *arguments)  # type: ignore[arg-type]
        raise AcmeUnreachable("the connection broke", sent=arrives)

    with monkeypatch.context() as patched:
        patched.setattr(AcmeTransport, "post", post)
        yield


async def test_a_rollover_exchanges_the_key_and_keeps_the_account(issuer: Issuer) -> None:
    """Afterwards the CA has the new key, does not know the old one any more, and the account's URL is as before."""
    client = client_of(issuer)
    url = await client.ensure_account()
    before, old = stored(issuer), await client._account.ensure()
    after = await client_of(issuer).account_changes.rollover()
    assert after == stored(issuer)
    assert (url, None) == (after.account_url, after.successor)
    assert before.spki_digest != after.spki_digest
    assert after.key_change_time is not None
    assert await client.account_changes._requests.find(old.key) is None
    assert await has_the_stored_key(issuer)


async def die_before_write(issuer: Issuer, number: int) -> None:
    await _die(issuer, number, "before_write")


async def die_after_write(issuer: Issuer, number: int) -> None:
    await _die(issuer, number, "after_write")


async def _die(issuer: Issuer, number: int, hook: str) -> None:
    """Begins a rollover in a process that dies around its write of this number."""
    writes = 0

    def kill(_: AccountRecord) -> None:
        nonlocal writes
        writes += 1
        if writes == number:
            raise Killed

    setattr(issuer.accounts, hook, kill)
    with pytest.raises(Killed):
        await client_of(issuer).account_changes.rollover()
    setattr(issuer.accounts, hook, lambda _: None)


async def by_command(issuer: Issuer) -> None:
    """Goes on as an operator does: with the command again."""
    await client_of(issuer).account_changes.rollover()


async def by_worker(issuer: Issuer) -> None:
    """Goes on as a worker does that starts anew."""
    await client_of(issuer).new_order(["shop.example.com"])


@pytest.mark.parametrize("go_on", [by_command, by_worker])
@pytest.mark.parametrize(
    ("die", "number", "begun"),
    [
        pytest.param(die_before_write, 1, False, id="before the new key is written"),
        pytest.param(die_after_write, 1, True, id="before the CA is asked"),
        pytest.param(die_before_write, 2, True, id="before the CA's answer is written"),
        pytest.param(die_after_write, 2, False, id="after everything"),
    ],
)
async def test_a_rollover_survives_death_between_any_two_steps(issuer: Issuer, die, number: int, begun: bool, go_on) -> None:
    """Whoever comes next, the command or a worker, finds out which key the CA has and completes what was begun."""
    url = await client_of(issuer).ensure_account()
    first = stored(issuer).spki_digest
    await die(issuer, number)
    left = stored(issuer)
    assert begun == (left.successor is not None)
    await go_on(issuer)
    after = stored(issuer)
    assert (url, 1) == (after.account_url, issuer.accounts.created)
    assert await has_the_stored_key(issuer)
    if left.successor is not None:
        assert left.successor.spki_digest == after.spki_digest
    elif go_on is by_worker:
        assert (left.spki_digest, number == 2) == (after.spki_digest, after.spki_digest != first)


@pytest.mark.parametrize("arrives", [True, False], ids=["the reply is lost", "the request is lost"])
@pytest.mark.parametrize("go_on", [by_command, by_worker])
async def test_a_rollover_survives_a_lost_request(
    issuer: Issuer, posts: Counter[str], monkeypatch: pytest.MonkeyPatch, arrives: bool, go_on
) -> None:
    """Whether keyChange took effect or not, what comes next ends with the key that was written first."""
    await client_of(issuer).ensure_account()
    with key_change_dies(monkeypatch, arrives=arrives), pytest.raises(AcmeUnreachable):
        await client_of(issuer).account_changes.rollover()
    begun = stored(issuer).successor
    assert begun is not None
    sent = posts["key_change"]
    await go_on(issuer)
    assert (begun.spki_digest, 0 if arrives else 1) == (stored(issuer).spki_digest, posts["key_change"] - sent)
    assert await has_the_stored_key(issuer)


@contextmanager
def key_change_is_refused(monkeypatch: pytest.MonkeyPatch, problem: AcmeProblem, *, takes_effect: bool) -> Iterator[None]:
    """Every keyChange is answered with this problem, whether it took effect or not."""
    real = AcmeTransport.post

    def post(self: AcmeTransport, endpoint: str, *arguments: object) -> Reply:
        if endpoint != "key_change":
            return real(self, endpoint, *arguments)  # type: ignore[arg-type]
        if takes_effect:
            real(self, endpoint, *arguments)  # type: ignore[arg-type]
        raise AcmeError(problem)

    with monkeypatch.context() as patched:
        patched.setattr(AcmeTransport, "post", post)
        yield


async def test_a_conflict_means_that_the_key_is_exchanged_already(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 409 for a key that is our own account's by now (a repeated request) completes the rollover."""
    client = client_of(issuer)
    url = await client.ensure_account()
    with key_change_is_refused(monkeypatch, AcmeProblem(f"{ACME}malformed", "the key is in use", 409), takes_effect=True):
        record = await client.account_changes.rollover()
    assert (url, None) == (record.account_url, record.successor)
    assert await has_the_stored_key(issuer)


async def test_a_refused_rollover_changes_nothing_and_can_be_repeated(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says what the CA said; workers go on with the key that the CA has; later the same new key is tried again."""
    client = client_of(issuer)
    await client.ensure_account()
    first = stored(issuer).spki_digest
    problem = AcmeProblem(f"{ACME}badPublicKey", "not this key", 400)
    with key_change_is_refused(monkeypatch, problem, takes_effect=False):
        with pytest.raises(AcmeError) as caught:
            await client.account_changes.rollover()
        assert problem == caught.value.problem
        assert "pending" == (await client_of(issuer).new_order(["shop.example.com"])).status
    begun = stored(issuer).successor
    assert begun is not None
    assert first == stored(issuer).spki_digest
    assert begun.spki_digest == (await client.account_changes.rollover()).spki_digest
    assert await has_the_stored_key(issuer)


async def test_a_rollover_of_an_account_that_the_ca_does_not_know_stops(issuer: Issuer) -> None:
    """When the CA knows neither key the account is lost: nothing is exchanged, and nothing registered."""
    client = client_of(issuer)
    await client.ensure_account()
    await issuer.pebble.kill_authority()
    await issuer.pebble.start_authority()
    with pytest.raises(AcmeError) as caught:
        await client.account_changes.rollover()
    assert f"{ACME}accountDoesNotExist" == caught.value.problem.type
    for _ in range(2):
        with pytest.raises(AcmeError) as caught:
            await client_of(issuer).new_order(["shop.example.com"])
        assert f"{ACME}accountDoesNotExist" == caught.value.problem.type
    assert stored(issuer).successor is not None


async def test_rollovers_at_the_same_time_are_one(issuer: Issuer) -> None:
    """Operators who roll over at the same time, and workers who look meanwhile, end with one key, and nobody gets an error."""
    workers = [client_of(issuer) for _ in range(2)]
    for worker in workers:
        await worker.ensure_account()
    commands = [client_of(issuer).account_changes.rollover() for _ in range(3)]
    records = await asyncio.gather(*commands)
    orders = await asyncio.gather(*(worker.new_order([f"shop{number}.example.com"]) for number, worker in enumerate(workers)))
    assert stored(issuer).spki_digest in {record.spki_digest for record in records}
    assert ["pending", "pending"] == [order.status for order in orders]
    assert await has_the_stored_key(issuer)


async def test_a_new_key_of_another_account_stops_the_rollover(issuer: Issuer) -> None:
    """A key that is another account's already is neither used nor made the account key."""
    client = client_of(issuer)
    await client.ensure_account()
    before = stored(issuer)
    stranger = client.account_changes._keys.make()
    await client.account_changes._requests.register(client.account_changes._keys.open(stranger), (), None)
    await client.account_changes.update(lambda record: replace(record, successor=stranger))
    with pytest.raises(AcmeError) as caught:
        await client.account_changes.rollover()
    assert ACCOUNT_UNUSABLE == caught.value.problem.type
    assert before.spki_digest == stored(issuer).spki_digest


async def test_a_running_worker_takes_up_the_new_key_when_it_is_refused(issuer: Issuer) -> None:
    """A worker whose key was exchanged by a command reads the record again, and its request succeeds with the new key."""
    worker = client_of(issuer)
    await worker.ensure_account()
    await client_of(issuer).account_changes.rollover()
    assert "pending" == (await worker.new_order(["shop.example.com"])).status


async def test_a_refusal_for_another_reason_is_not_repeated(issuer: Issuer, posts: Counter[str]) -> None:
    """A request that is malformed stays refused: the record is read once, and nothing is sent again."""
    worker = client_of(issuer)
    await worker.ensure_account()
    reads, sent = issuer.accounts.reads, posts["new_order"]
    with pytest.raises(AcmeError):
        await worker.new_order(["not a name"])
    assert (1, 1) == (issuer.accounts.reads - reads, posts["new_order"] - sent)


async def test_a_running_worker_looks_at_the_record_within_a_minute(issuer: Issuer) -> None:
    """The account is looked at again by and by, and not at each request."""
    clock = MovedClock()
    worker = client_of(issuer, clock)
    await worker.ensure_account()
    await client_of(issuer).account_changes.rollover()
    reads = issuer.accounts.reads
    stale = await worker._account.ensure()
    assert reads == issuer.accounts.reads
    clock.ahead = timedelta(minutes=1)
    fresh = await worker._account.ensure()
    assert stale.spki_digest != fresh.spki_digest == stored(issuer).spki_digest


async def test_a_challenge_is_not_answered_with_a_key_authorization_of_the_old_key(issuer: Issuer) -> None:
    """When the key was exchanged since the key authorization was published the answer is held back, so that it is published anew."""
    worker = client_of(issuer)
    order = await worker.new_order(["shop.example.com"])
    (authorization,) = [await worker.authorization(url) for url in order.authorization_urls]
    old = await worker.key_authorization(authorization.token)
    await client_of(issuer).account_changes.rollover()
    with pytest.raises(AcmeUnreachable):
        await worker.answer(authorization.challenge_url)
    assert "pending" == (await worker.authorization(authorization.url)).challenge_status
    assert old.reveal() != (await worker.key_authorization(authorization.token)).reveal()


async def test_an_issuance_goes_on_over_a_rollover(issuer: Issuer) -> None:
    """A rollover between two issuances of a running worker costs no failed attempt."""
    outcomes = []
    for number in range(2):
        await issuer.work.add(samples.spec(f"shop{number}.example.com"))
        outcomes.append(await issuer.attempt(f"shop{number}.example.com"))
        await client_of(issuer).account_changes.rollover()
    assert ["issued", "issued"] == [str(outcome.value) for outcome in outcomes]


async def test_a_contact_update_reaches_the_ca(issuer: Issuer) -> None:
    """The CA has the new contact, and the record says what the CA was told."""
    client = client_of(issuer)
    await client.ensure_account()
    await client.account_changes.set_contact(("mailto:new@example.com",))
    remote = await client.account_changes.remote()
    assert ("valid", ("mailto:new@example.com",)) == (remote.status, remote.contact)
    assert ("mailto:new@example.com",) == stored(issuer).contact


async def test_a_contact_that_the_ca_refuses_is_not_recorded(issuer: Issuer) -> None:
    """What the CA refuses as a contact stays out of the record."""
    client = client_of(issuer)
    await client.ensure_account()
    with pytest.raises(AcmeError):
        await client.account_changes.set_contact(("tel:+1-555-0100",))
    assert () == stored(issuer).contact


async def test_the_terms_that_were_agreed_to_are_recorded(issuer: Issuer) -> None:
    """The record says which terms of service the registration agreed to."""
    client = client_of(issuer)
    await client.ensure_account()
    assert "data:text/plain,Do%20what%20thou%20wilt" == stored(issuer).terms_of_service == await client.account_changes.terms_of_service()


async def test_a_deactivated_account_is_used_no_more_and_none_is_made(issuer: Issuer, posts: Counter[str]) -> None:
    """After deactivation a running worker and one that starts stop, and say why; doing it again is no error."""
    running, starting = client_of(issuer), client_of(issuer)
    await running.ensure_account()
    record = await client_of(issuer).account_changes.deactivate()
    assert AccountStatus.DEACTIVATED is record.status is stored(issuer).status
    sent = posts["new_account"]
    for worker in (running, starting, running):
        with pytest.raises(AcmeError) as caught:
            await worker.new_order(["shop.example.com"])
        assert ACCOUNT_UNUSABLE == caught.value.problem.type
        assert "certplane account forget" in caught.value.problem.detail
    assert (sent, 1.0) == (posts["new_account"], unusable())
    assert record == await client_of(issuer).account_changes.deactivate()


@pytest.mark.parametrize(("hook", "number"), [("after_write", 1), ("before_write", 2)])
async def test_a_deactivation_survives_death(issuer: Issuer, hook: str, number: int) -> None:
    """After a death before or after the CA heard of it no worker uses the account, and the command completes it."""
    await client_of(issuer).ensure_account()
    writes = 0

    def kill(_: AccountRecord) -> None:
        nonlocal writes
        writes += 1
        if writes == number:
            raise Killed

    setattr(issuer.accounts, hook, kill)
    with pytest.raises(Killed):
        await client_of(issuer).account_changes.deactivate()
    setattr(issuer.accounts, hook, lambda _: None)
    assert AccountStatus.DEACTIVATING is stored(issuer).status
    with pytest.raises(AcmeError) as caught:
        await client_of(issuer).new_order(["shop.example.com"])
    assert ACCOUNT_UNUSABLE == caught.value.problem.type
    with pytest.raises(FailedPrecondition):
        await client_of(issuer).account_changes.rollover()
    assert AccountStatus.DEACTIVATED is (await client_of(issuer).account_changes.deactivate()).status
    with pytest.raises(AcmeError):
        await client_of(issuer).account_changes.remote()


async def test_an_account_in_the_middle_of_a_rollover_can_be_deactivated(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deactivation is signed by the key that the CA has, also when that is the new one already."""
    client = client_of(issuer)
    await client.ensure_account()
    with key_change_dies(monkeypatch, arrives=True), pytest.raises(AcmeUnreachable):
        await client.account_changes.rollover()
    await client.account_changes.deactivate()
    successor = stored(issuer).successor
    assert successor is not None
    with pytest.raises(AcmeError) as caught:
        await client.account_changes._requests.find(client.account_changes._keys.open(successor))
    assert f"{ACME}unauthorized" == caught.value.problem.type


async def test_a_forgotten_account_is_noticed_by_a_running_worker(issuer: Issuer) -> None:
    """After `forget` a running worker makes a new account within a minute, and says so."""
    clock = MovedClock()
    worker = client_of(issuer, clock)
    url = await worker.ensure_account()
    await issuer.accounts.forget(issuer.pebble.directory_url)
    clock.ahead = timedelta(minutes=1)
    with capture_logs() as logs:
        assert url != await worker.ensure_account()
    assert ["the account was forgotten", "account registered"] == [entry["event"] for entry in logs]


async def test_an_unknown_account_is_given_up_for_a_while(issuer: Issuer, posts: Counter[str]) -> None:
    """After accountDoesNotExist nothing is sent for five minutes, operators are told once, and then the CA is asked once more."""
    clock = MovedClock()
    client = client_of(issuer, clock)
    await client.ensure_account()
    await issuer.pebble.kill_authority()
    await issuer.pebble.start_authority()
    sent = posts["new_order"]
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(AcmeError) as caught:
                await client.new_order(["shop.example.com"])
            assert f"{ACME}accountDoesNotExist" == caught.value.problem.type
    assert (1, 1.0) == (posts["new_order"] - sent, unusable())
    assert 1 == len([entry for entry in logs if entry["log_level"] == "error" and "account forget" in entry["advice"]])
    clock.ahead = timedelta(minutes=6)
    for _ in range(2):
        with pytest.raises(AcmeError):
            await client.new_order(["shop.example.com"])
    assert 2 == posts["new_order"] - sent
    await issuer.accounts.forget(issuer.pebble.directory_url)
    assert "pending" == (await client.new_order(["shop.example.com"])).status
    assert 0.0 == unusable()


async def test_what_is_not_there_is_not_made_by_a_change(issuer: Issuer) -> None:
    """Without a record, and before the CA has registered it, no change makes an account."""
    changes = client_of(issuer).account_changes
    for change in (changes.rollover, changes.deactivate, changes.remote, lambda: changes.set_contact(())):
        with pytest.raises(NotFound):
            await change()
    key = changes._keys.make()
    await issuer.accounts.create(AccountRecord(issuer.pebble.directory_url, "", key.envelope, key.spki_digest, samples.now()))
    for change in (changes.rollover, changes.remote, lambda: changes.set_contact(())):
        with pytest.raises(FailedPrecondition):
            await change()
    assert await changes._requests.find(changes._keys.open(key)) is None
    assert AccountStatus.DEACTIVATED is (await changes.deactivate()).status
