"""An HTTP server that answers what a script says: for what a real CA does too rarely to wait for."""

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.tiny_pki import PemPair


@dataclass(slots=True)
class Answer:
    """One answer; `cut` closes the connection instead, after so many bytes of the body if there are any.

    `drips` are the parts that come slowly, a byte at a time: `head` or `body`; `hang` is how long nothing comes, in seconds. `endless`
    says no length: the body ends with the connection.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    cut_after: int = 0
    drips: str = ""
    hang: float = 0.0
    endless: bool = False


def problem(code: str, status: int = 400, **headers: str) -> Answer:
    """A problem document."""
    document = {"type": f"urn:ietf:params:acme:error:{code}", "detail": f"it is {code}"}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/problem+json", **headers})


@dataclass(slots=True)
class ScriptedCa:
    """Serves a directory and nonces; POSTs get the script's answers in order, each with a fresh nonce."""

    url: str = ""
    script: list[Answer] = field(default_factory=list)
    used_nonces: list[str] = field(default_factory=list)
    given_nonces: list[str] = field(default_factory=list)
    user_agents: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    peers: set[tuple[str, int]] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)


def _handler(ca: ScriptedCa) -> type[BaseHTTPRequestHandler]:
    from josepy.json_util import decode_b64jose, encode_b64jose

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._send(Answer(body=json.dumps({"newNonce": f"{ca.url}/nonce", "newOrder": f"{ca.url}/order"}).encode()))

        def do_HEAD(self) -> None:
            self._send(Answer(body=b""))

        def do_POST(self) -> None:
            jws: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ca.used_nonces.append(json.loads(decode_b64jose(jws["protected"]))["nonce"])
            answer = ca.script.pop(0)
            if answer.hang:
                ca.stopped.wait(answer.hang)
            if answer.cut and not answer.cut_after:
                self.close_connection = True
                return
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            ca.requests.append(f"{self.command} {self.path}")
            ca.peers.add(self.client_address)
            ca.user_agents.add(self.headers["User-Agent"])
            ca.given_nonces.append(encode_b64jose(f"nonce {len(ca.given_nonces):04}".encode()))
            # No Date by itself: the script's clock is not ours.
            self.send_response_only(answer.status)
            for name, value in {"Content-Type": "application/json", "Replay-Nonce": ca.given_nonces[-1], **answer.headers}.items():
                self.send_header(name, value)
            if not answer.endless:
                self.send_header("Content-Length", str(len(answer.body)))
            if answer.drips == "head":
                self._drip(b"".join(self._headers_buffer))  # type: ignore[attr-defined]
                self._headers_buffer = []
            self.end_headers()
            if answer.drips == "body":
                self._drip(answer.body)
            else:
                self.wfile.write(answer.body[: answer.cut_after] if answer.cut_after else answer.body)
            self.close_connection |= answer.cut or answer.endless or bool(answer.drips)

        def _drip(self, data: bytes) -> None:
            for number in range(len(data)):
                try:
                    self.wfile.write(data[number : number + 1])
                except OSError:
                    return
                if ca.stopped.wait(0.05):
                    return

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    """Whoever goes away amid a reply is no error."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing."""


@contextmanager
def scripted_ca(tls: PemPair | None = None) -> Iterator[ScriptedCa]:
    """Runs one on a free port of 127.0.0.1, over TLS with that certificate."""
    ca = ScriptedCa()
    server = _Server(("127.0.0.1", 0), _handler(ca))
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.cert_file, tls.key_file)
        # The handshake belongs into the request's thread: a client that breaks it off must not stop the server.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    ca.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield ca
    finally:
        ca.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
