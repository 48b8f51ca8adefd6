"""The TLS client that measures every server: a process of its own, one connection at a time.

Reads jobs from standard input, a line of JSON each, and answers each with a line. Moments are those of `time.perf_counter`, which all
processes of a Linux machine share; durations are in seconds and include the TCP connection.

It is made with pyOpenSSL, whose OpenSSL takes about half the CPU time for a handshake of the one that Python's `ssl` often is linked to.
"""

import contextlib
import json
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from cryptography import x509
from OpenSSL import SSL

_SECONDS = 20
# Between two tries: at first hardly anything; a fiftieth of the time waited so far keeps the CPU for the server that is waited for.
_LEAST_PAUSE = 0.0005
_PAUSE_SHARE = 0.02


class Client:
    """Verifies chains to `roots`, a PEM file, and the names."""

    def __init__(self, roots: str) -> None:
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.load_verify_locations(roots)
        self._context.set_verify(SSL.VERIFY_PEER)
        self._context.set_alpn_protos([b"http/1.1"])

    def touch(self, port: int, names: list[str]) -> dict[str, Any]:
        """Shakes hands for each name; a failed one gives no duration."""
        seconds: list[float] = []
        failed = 0
        begun, cpu = time.perf_counter(), time.process_time()
        for name in names:
            moment = time.perf_counter()
            try:
                with self._connected(port, name) as certificate:
                    done = time.perf_counter() - moment
                    if _is_for(certificate, name):
                        seconds.append(round(done, 6))
                    else:
                        failed += 1
            except (OSError, SSL.Error):
                failed += 1
        return {"seconds": seconds, "failed": failed, "begun": begun, "ended": time.perf_counter(), "cpu": time.process_time() - cpu}

    def until_served(self, port: int, name: str, serial_number: int | None, timeout: float) -> dict[str, Any]:
        """Tries until a handshake succeeds, with the certificate of that serial number if one is given; returns when that was."""
        begun = time.perf_counter()
        tries = 0
        while (now := time.perf_counter()) < begun + timeout:
            tries += 1
            with contextlib.suppress(OSError, SSL.Error), self._connected(port, name) as certificate:
                ended = time.perf_counter()
                if _is_for(certificate, name) and serial_number in (None, certificate.serial_number):
                    return {"ended": ended, "tries": tries}
            time.sleep(max(_LEAST_PAUSE, (now - begun) * _PAUSE_SHARE))
        return {"ended": None, "tries": tries}

    @contextlib.contextmanager
    def _connected(self, port: int, name: str) -> Iterator[x509.Certificate]:
        """Yields the peer's certificate, whose chain is verified, when the handshake is done."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            # pyOpenSSL takes a socket that blocks; the kernel ends what takes too long (socket(7)).
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _SECONDS, 0))
            tls = SSL.Connection(self._context, connection)
            tls.set_tlsext_host_name(name.encode())
            tls.set_connect_state()
            tls.do_handshake()
            certificate = tls.get_peer_certificate(as_cryptography=True)
            if certificate is None:
                raise AssertionError("a server without a certificate passed verification")
            yield certificate


def main() -> None:
    """Answers jobs until standard input ends. The argument is a PEM file of what is trusted."""
    client = Client(sys.argv[1])
    jobs: dict[str, Callable[..., dict[str, Any]]] = {"touch": client.touch, "until_served": client.until_served}
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        print(json.dumps(jobs[job.pop("do")](**job)), flush=True)


def _is_for(certificate: x509.Certificate, name: str) -> bool:
    """Returns whether `name` is the certificate's (RFC 6125); all have DNS names without wildcards."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return name in names.get_values_for_type(x509.DNSName)


if __name__ == "__main__":
    main()
