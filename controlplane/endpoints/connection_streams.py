"""How many streams of secrets one connection has: with plain SDS an Envoy opens one for each secret."""

from typing import Final

_UNIX: Final = "unix"

CONNECTIONS_OF_A_SOCKET: Final = 32


class ConnectionStreams:
    """Counts streams by connection, against a limit.

    A TCP connection is told by the address and port of the peer. All connections of a unix socket have one and the same peer, so they
    are counted together, against `CONNECTIONS_OF_A_SOCKET` times the limit: whoever may open the socket is trusted that much more.
    """

    def __init__(self, limit: int | None) -> None:
        """Makes a count; None: without a limit."""
        self._limit = limit
        self._streams: dict[str, int] = {}

    def add(self, peer: str) -> int | None:
        """Counts one more stream of a peer, as gRPC names it; returns the limit instead when it would be one too many."""
        peer = self._connection(peer)
        count = self._streams.get(peer, 0)
        if self._limit is not None:
            limit = self._limit * CONNECTIONS_OF_A_SOCKET if peer == _UNIX else self._limit
            if count >= limit:
                return limit
        self._streams[peer] = count + 1
        return None

    def remove(self, peer: str) -> None:
        """Counts one less."""
        peer = self._connection(peer)
        if self._streams[peer] == 1:
            del self._streams[peer]
        else:
            self._streams[peer] -= 1

    @staticmethod
    def _connection(peer: str) -> str:
        return _UNIX if peer.startswith(_UNIX) else peer
