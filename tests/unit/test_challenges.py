"""HTTP-01 answers: which requests are for a challenge, and which token answers which host."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.challenges import ANSWERED_AGAIN, CHALLENGE_PREFIX, ChallengeReply, Challenges
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.virtual_time import run_virtually

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"  # the example of RFC 8555 section 8.3
AUTHORIZATION = b"LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
PATH = CHALLENGE_PREFIX + TOKEN.encode()
ANSWER = ChallengeReply(200, AUTHORIZATION)


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    """At the level at which most could leak and most could be written."""
    caplog.set_level(logging.DEBUG, logger="controlplane.usecases.challenges")


@pytest.fixture
async def tokens() -> InMemoryTokens:
    """A store with one token, for two names."""
    made = InMemoryTokens(lambda: NOW)
    record = TokenRecord(TOKEN, SecretBytes(AUTHORIZATION), ("a.example", "www.a.example"), NOW + timedelta(minutes=5))
    await made.plant(record)
    return made


@pytest.fixture
def challenges(tokens) -> Challenges:
    """The use case over that store."""
    return Challenges(tokens, lambda: NOW)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "host", [b"a.example", b"www.a.example", b"A.Example", b"a.example:80", b"a.example.", b"A.EXAMPLE.:8080", b"www.a.example.:5002"]
)
@pytest.mark.parametrize("path", [PATH, PATH + b"?", PATH + b"?x=1/2"])
async def test_a_planted_token_answers_for_the_names_of_its_record(challenges, method, host, path):
    """The body is exactly the key authorization, however the host is written and whatever query follows."""
    assert ANSWER == await challenges.reply(method, host, path)


@pytest.mark.parametrize(
    "host", [b"b.example", b"sub.a.example", b"example", b"", b"*", b"127.0.0.1", b"[::1]:80", b"\xff", b"a.example:http"]
)
async def test_a_token_answers_for_no_other_host(challenges, host):
    """A token that was planted for other names is not found."""
    assert 404 == (await challenges.reply(b"GET", host, PATH)).status


@pytest.mark.parametrize(
    "token", [b"", b"unknown", b"a" * 129, b"a/b", b"../x", b"%41", b"a b", b"a\0", b"\xff", b"a.b", TOKEN.encode() + b"/", b"a\n"]
)
async def test_an_unknown_token_is_not_found(challenges, token):
    """Any other token, well-formed or not, gives 404."""
    assert 404 == (await challenges.reply(b"GET", b"a.example", CHALLENGE_PREFIX + token)).status


async def test_the_store_is_asked_for_well_formed_tokens_only(challenges, tokens):
    """A stranger's string reaches the store only if it can be a token, from a host that can be a name."""
    for token in (b"", b"a" * 129, b"a/b", b"*", b"\xff", b"a\n"):
        await challenges.reply(b"GET", b"a.example", CHALLENGE_PREFIX + token)
    await challenges.reply(b"GET", b"127.0.0.1:x", PATH)
    await challenges.reply(b"POST", b"a.example", PATH)
    assert [] == tokens.asked
    await challenges.reply(b"GET", b"a.example", CHALLENGE_PREFIX + b"a" * 128)
    assert ["a" * 128] == tokens.asked


@pytest.mark.parametrize("method", [b"POST", b"get", b"", b"OPTIONS"])
async def test_other_methods_find_nothing(challenges, method):
    """A challenge is fetched with GET."""
    assert 404 == (await challenges.reply(method, b"a.example", PATH)).status


@pytest.mark.parametrize("path", [b"/", b"", b"/.well-known/acme-challenge", b"/.WELL-KNOWN/acme-challenge/x", b"/x" + PATH, b"*", b"\xff"])
async def test_any_other_path_goes_its_way(challenges, tokens, path):
    """Requests that are for no challenge are left alone, also while the store is away."""
    tokens.away = True
    assert await challenges.reply(b"GET", b"a.example", path) is None


async def test_a_store_that_is_away_gives_503(challenges, tokens):
    """A CA tries again after a 503; a 404 would fail the challenge for good."""
    tokens.away = True
    assert 503 == (await challenges.reply(b"GET", b"a.example", PATH)).status


async def test_an_error_of_the_store_gives_503(challenges, tokens, monkeypatch):
    """An unexpected error never becomes an answer of another kind."""

    async def fail(token):
        raise RuntimeError("a bug")

    monkeypatch.setattr(tokens, "find", fail)
    assert 503 == (await challenges.reply(b"GET", b"a.example", PATH)).status


async def test_an_expired_token_is_not_found(tokens):
    """A record whose time is over answers nothing, even when the store still has it."""
    late = Challenges(tokens, lambda: NOW + timedelta(minutes=5))
    assert 404 == (await late.reply(b"GET", b"a.example", PATH)).status


class MovingClock:
    """A clock that a test sets on."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Tells the time."""
        return self.now


@pytest.fixture
def clock() -> MovingClock:
    """At NOW."""
    return MovingClock()


async def test_a_ca_that_asks_from_several_places_costs_one_look_up(tokens, clock):
    """Within a moment the same answer is given again, whatever way it was asked for; after it the store is asked once more."""
    challenges = Challenges(tokens, clock)
    for method in (b"GET", b"HEAD", b"GET"):
        assert ANSWER == await challenges.reply(method, b"a.example", PATH)
    assert [TOKEN] == tokens.asked
    clock.now += ANSWERED_AGAIN
    assert ANSWER == await challenges.reply(b"GET", b"a.example", PATH)
    assert [TOKEN] * 2 == tokens.asked


async def test_what_is_remembered_answers_nothing_else(tokens, clock):
    """Another method, host or token is as before."""
    challenges = Challenges(tokens, clock)
    await challenges.reply(b"GET", b"a.example", PATH)
    for method, host, path in ((b"POST", b"a.example", PATH), (b"GET", b"b.example", PATH), (b"GET", b"a.example", PATH + b"x")):
        assert 404 == (await challenges.reply(method, host, path)).status


async def test_a_withdrawn_token_is_answered_for_a_moment_at_most(tokens, clock):
    """Then it is not found."""
    challenges = Challenges(tokens, clock)
    await challenges.reply(b"GET", b"a.example", PATH)
    await tokens.withdraw([TOKEN])
    clock.now += ANSWERED_AGAIN
    assert 404 == (await challenges.reply(b"GET", b"a.example", PATH)).status


async def test_nothing_is_answered_beyond_its_time(tokens, clock):
    """A record that ends within the moment ends what is remembered of it."""
    challenges = Challenges(tokens, clock)
    record = tokens.records[TOKEN]
    clock.now = record.expire_time - ANSWERED_AGAIN / 2
    assert ANSWER == await challenges.reply(b"GET", b"a.example", PATH)
    clock.now = record.expire_time
    assert 404 == (await challenges.reply(b"GET", b"a.example", PATH)).status


async def test_a_token_that_was_not_there_is_answered_once_it_is(tokens, clock):
    """Misses are not remembered."""
    challenges = Challenges(tokens, clock)
    record = tokens.records.pop(TOKEN)
    assert 404 == (await challenges.reply(b"GET", b"a.example", PATH)).status
    await tokens.plant(record)
    assert ANSWER == await challenges.reply(b"GET", b"a.example", PATH)


async def test_what_is_remembered_is_bounded(tokens, clock):
    """Whoever knows one token and asks for it in ever other ways makes `serve` remember no more than so many."""
    challenges = Challenges(tokens, clock)
    for number in range(3000):
        assert ANSWER == await challenges.reply(b"GET", b"a.example", PATH + b"?%d" % number)
    assert 1024 == len(challenges._recent)
    clock.now += ANSWERED_AGAIN
    await challenges.reply(b"GET", b"a.example", PATH)
    assert 1 == len(challenges._recent)


async def test_a_request_of_great_length_is_not_remembered(tokens, clock):
    """It is answered, from the store each time."""
    challenges = Challenges(tokens, clock)
    for _ in range(2):
        assert ANSWER == await challenges.reply(b"GET", b"a.example", PATH + b"?" + b"x" * 512)
    assert ([TOKEN] * 2, 0) == (tokens.asked, len(challenges._recent))


def test_a_store_that_is_silent_gives_503_before_envoy_gives_up():
    """Envoy waits for two seconds."""

    async def main() -> tuple[int, float]:
        tokens = InMemoryTokens(lambda: NOW)
        tokens.find = lambda _token: asyncio.sleep(3600)
        reply = await Challenges(tokens, lambda: NOW).reply(b"GET", b"a.example", PATH)
        return reply.status, asyncio.get_running_loop().time()

    status, seconds = run_virtually(main())
    assert 503 == status
    assert seconds < 2.0


async def test_a_key_authorization_that_is_not_text_is_not_sent(tokens):
    """A body that no CA can have asked for is not found."""
    await tokens.plant(TokenRecord("bad", SecretBytes(b"\xff"), ("a.example",), NOW + timedelta(minutes=5)))
    assert 404 == (await Challenges(tokens, lambda: NOW).reply(b"GET", b"a.example", CHALLENGE_PREFIX + b"bad")).status


async def test_the_key_authorization_does_not_show_itself(challenges):
    """Neither the log nor a representation holds it."""
    with structlog.testing.capture_logs() as logs:
        reply = await challenges.reply(b"GET", b"a.example", PATH)
    assert "challenge answered" in repr(logs)
    assert AUTHORIZATION.decode() not in repr(logs) + repr(reply)


async def test_strangers_cannot_fill_the_log(challenges, tokens):
    """Unknown challenges are logged for debugging only, and a store that is away is complained of once a minute."""
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await challenges.reply(b"GET", b"b.example", PATH)
        tokens.away = True
        for _ in range(3):
            await challenges.reply(b"GET", b"b.example", PATH)
    assert [("debug", "unknown challenge")] * 3 + [("warning", "challenge cannot be looked up")] == [
        (entry["log_level"], entry["event"]) for entry in logs
    ]


@given(method=st.binary(max_size=10), host=st.binary(max_size=300), path=st.binary(max_size=300), prefixed=st.booleans())
async def test_any_request_is_safe(method, host, path, prefixed):
    """Whatever a stranger sends is left alone or not found."""
    challenges = Challenges(InMemoryTokens(lambda: NOW), lambda: NOW)
    reply = await challenges.reply(method, host, CHALLENGE_PREFIX + path if prefixed else path)
    assert reply is None or reply.status == 404


async def test_an_answer_is_encoded_once(challenges):
    """However often it is given again."""
    encoded: list[ChallengeReply] = []

    def encode(reply: ChallengeReply) -> bytes:
        encoded.append(reply)
        return b"%d %b" % (reply.status, reply.body)

    for _ in range(3):
        reply = await challenges.reply(b"GET", b"a.example", PATH)
        assert b"200 " + AUTHORIZATION == reply.encoded(encode)
    assert [ANSWER] == encoded
    assert AUTHORIZATION.decode() not in repr(reply)
