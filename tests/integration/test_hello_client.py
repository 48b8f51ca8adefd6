"""The client that floods an Envoy with ClientHellos, against servers whose answers are known."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.load import hello_client
from bench.load.hello_client import Outcome, Work

ALERT_40 = b"\x15\x03\x03\x00\x02\x02\x28"
SERVER_HELLO = b"\x16\x03\x03\x00\x7a\x02\x00"


@contextlib.asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that reads a ClientHello and answers in so many parts; gives its port, and what it was sent."""
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(4096))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionError):
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], received


async def outcome_of(work: Work) -> Outcome:
    """Runs the client beside the server."""
    return await asyncio.to_thread(hello_client.run, work)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [((ALERT_40,), "alert 40"), ((SERVER_HELLO[:3], SERVER_HELLO[3:]), "server hello"), ((), "closed"), ((b"HTTP/1.1 400",), "not TLS")],
)
async def test_every_name_is_sent_once(tmp_path: Path, parts: tuple[bytes, ...], verdict: str) -> None:
    """Each gets a verdict and a latency, whatever the parts in which an answer comes."""
    names = [f"name{index}.example" for index in range(50)]
    (tmp_path / "names").write_text("\n".join(names))
    async with answering(*parts) as (port, received):
        outcome = await outcome_of(Work(port, str(tmp_path / "names"), at_once=8))
    assert ({verdict: 50}, 50) == (outcome.verdicts, len(outcome.latencies))
    assert names == sorted((name for name in names if any(name.encode() in hello for hello in received)), key=names.index)


async def test_a_rate_is_kept() -> None:
    """Connections are begun when they are due, with names that differ, and not when the ones before are answered."""
    async with answering(ALERT_40) as (port, received):
        begun = time.perf_counter()
        outcome = await outcome_of(Work(port, seconds=0.5, rate=200.0))
        seconds = time.perf_counter() - begun
    assert 50 <= sum(outcome.verdicts.values()) <= 101
    assert len(received) == len(set(received))
    assert seconds >= 0.49


async def test_names_are_repeated_until_one_is_served(tmp_path: Path) -> None:
    """It ends with the first verdict that it waits for."""
    (tmp_path / "names").write_text("late.example")
    async with answering(SERVER_HELLO) as (port, received):
        outcome = await outcome_of(Work(port, str(tmp_path / "names"), until="server hello", at_once=1))
    assert "server hello" in outcome.verdicts
    assert len(received) == sum(outcome.verdicts.values()) <= 2


async def test_silence_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer is a verdict, too."""
    monkeypatch.setattr(hello_client, "_GRACE_SECONDS", 0.1)
    (tmp_path / "names").write_text("a.example\nb.example")
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(5), "127.0.0.1", 0)
    async with silent:
        outcome = await outcome_of(Work(silent.sockets[0].getsockname()[1], str(tmp_path / "names")))
    assert {"timed out": 2} == outcome.verdicts
