"""A real HTTP-01 responder over a token store in memory, where Pebble's validation connects."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.fakes.tokens import InMemoryTokens

_PATH = "/.well-known/acme-challenge/"


@contextmanager
def http01_responder(tokens: InMemoryTokens) -> Iterator[int]:
    """Answers on a free port of 127.0.0.1, which it yields, for tokens that were planted for the Host that is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            record = tokens.find_now(self.path.removeprefix(_PATH)) if self.path.startswith(_PATH) else None
            host = self.headers.get("Host", "").partition(":")[0]
            if record is None or host not in record.names:
                self.send_error(404)
                return
            body = record.key_authorization.reveal()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
