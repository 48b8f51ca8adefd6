"""What keeps streams within bounds: the deadline of writes, streams of a connection, and lines with a count."""

import asyncio
from itertools import pairwise

import pytest

from controlplane.endpoints.connection_streams import CONNECTIONS_OF_A_SOCKET, ConnectionStreams
from controlplane.endpoints.counted_lines import CountedLine
from controlplane.endpoints.write_deadline import WriteDeadline
from tests.fakes.eventually import eventually

SECONDS = 0.08


class Writing:
    """A writer whose write is what it is set to."""

    def __init__(self, write: int) -> None:
        self.write_under_way = write
        self.held_up_after: list[float] = []
        self._start = asyncio.get_running_loop().time()

    def held_up(self) -> None:
        """Notes when."""
        self.held_up_after.append(asyncio.get_running_loop().time() - self._start)


async def test_a_write_that_lasts_is_found_once_and_not_too_early():
    """It is held up after the deadline and not before, and told once; no other writer is."""
    deadline = WriteDeadline(SECONDS)
    stuck, idle = Writing(1), Writing(0)
    deadline.watch(stuck)
    deadline.watch(idle)
    await eventually(lambda: stuck.held_up_after)
    assert stuck.held_up_after[0] >= SECONDS
    other = Writing(1)
    deadline.watch(other)
    await eventually(lambda: other.held_up_after)
    assert (1, []) == (len(stuck.held_up_after), idle.held_up_after)
    deadline.forget(idle)


async def test_a_client_that_reads_slowly_is_left_alone():
    """Writes that each end in time are never held up, however many there are."""
    deadline = WriteDeadline(SECONDS)
    slow, stuck = Writing(1), Writing(1)
    deadline.watch(slow)
    deadline.watch(stuck)
    loop = asyncio.get_running_loop()

    def go_on() -> None:
        slow.write_under_way += 1
        loop.call_later(SECONDS / 3, go_on)

    go_on()
    await eventually(lambda: stuck.held_up_after)
    again = Writing(1)
    deadline.watch(again)
    await eventually(lambda: again.held_up_after)
    assert [] == slow.held_up_after
    deadline.forget(slow)


async def test_a_forgotten_writer_is_not_told():
    """After `forget` nothing is said, and with the last writer the looks end."""
    deadline = WriteDeadline(SECONDS)
    gone, stuck = Writing(1), Writing(1)
    deadline.watch(gone)
    deadline.watch(stuck)
    deadline.forget(gone)
    await eventually(lambda: stuck.held_up_after)
    assert [] == gone.held_up_after


def test_streams_are_counted_by_connection():
    """The one too many of a connection is refused with the limit; another connection, and an ended stream's place, are free."""
    streams = ConnectionStreams(2)
    assert [None, None, 2, None] == [streams.add(peer) for peer in ("ipv4:1.2.3.4:5", "ipv4:1.2.3.4:5", "ipv4:1.2.3.4:5", "ipv4:1.2.3.4:6")]
    streams.remove("ipv4:1.2.3.4:5")
    assert [None, 2] == [streams.add("ipv4:1.2.3.4:5"), streams.add("ipv4:1.2.3.4:5")]


@pytest.mark.parametrize("peer", ["unix:", "unix:/run/certplane.sock"])
def test_connections_of_a_unix_socket_share_a_larger_limit(peer):
    """They cannot be told apart, so the limit is a multiple."""
    streams = ConnectionStreams(1)
    assert [None] * CONNECTIONS_OF_A_SOCKET == [streams.add(peer) for _ in range(CONNECTIONS_OF_A_SOCKET)]
    assert CONNECTIONS_OF_A_SOCKET == streams.add(peer)


def test_without_a_limit_all_are_counted():
    """None is no limit."""
    streams = ConnectionStreams(None)
    assert {None} == {streams.add("ipv4:1.2.3.4:5") for _ in range(100)}


async def test_a_counted_line_is_written_once_a_while():
    """What is counted meanwhile is in one line; the sum of all lines is what was counted, and lines are never closer than said."""
    lines: list[tuple[float, int]] = []
    loop = asyncio.get_running_loop()
    line = CountedLine(lambda count: lines.append((loop.time(), count)), SECONDS)
    total = 0
    while len(lines) < 3:
        line.add(5)
        total += 5
        await asyncio.sleep(0)
    line.flush()
    assert total == sum(count for _, count in lines)
    assert all(after - before >= SECONDS for (before, _), (after, _) in pairwise(lines[:3]))


async def test_an_idle_line_is_not_written():
    """Nothing counted, nothing written; `flush` writes what waits, at once."""
    lines: list[int] = []
    line = CountedLine(lines.append, 60)
    line.flush()
    assert [] == lines
    line.add(1)
    line.add(2)
    line.flush()
    assert [3] == lines
