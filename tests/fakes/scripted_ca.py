"""An HTTP server that answers what a script says: for what a real CA does too rarely to wait for."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Answer:
    """One answer; `cut` closes the connection instead."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


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


def _handler(ca: ScriptedCa) -> type[BaseHTTPRequestHandler]:
    from josepy.json_util import decode_b64jose, encode_b64jose

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(Answer(body=json.dumps({"newNonce": f"{ca.url}/nonce", "newOrder": f"{ca.url}/order"}).encode()))

        def do_HEAD(self) -> None:
            self._send(Answer(body=b""))

        def do_POST(self) -> None:
            jws: Any = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ca.used_nonces.append(json.loads(decode_b64jose(jws["protected"]))["nonce"])
            answer = ca.script.pop(0)
            if answer.cut:
                self.close_connection = True
                return
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            ca.requests.append(f"{self.command} {self.path}")
            ca.peers.add(self.client_address)
            ca.user_agents.add(self.headers["User-Agent"])
            ca.given_nonces.append(encode_b64jose(f"nonce {len(ca.given_nonces):04}".encode()))
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", "Replay-Nonce": ca.given_nonces[-1], **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    return Handler


@contextmanager
def scripted_ca() -> Iterator[ScriptedCa]:
    """Runs one on a free port of 127.0.0.1."""
    ca = ScriptedCa()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(ca))
    ca.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield ca
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
