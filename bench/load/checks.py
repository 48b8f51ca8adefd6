"""Checks: how many HTTP-01 requests one `serve` answers through ext_authz, beside a bare grpc.aio echo from one process."""

import asyncio
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from statistics import median
from typing import Any

from envoy.service.auth.v3 import external_auth_pb2

from bench.load import check_client
from bench.load.bare_server import ECHO
from bench.load.stand import Stand, answered, stand, started
from bench.section import Options, Promise, Section, Table
from bench.tables import milliseconds, percentile, ratio
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes

_CHECK = "/envoy.service.auth.v3.Authorization/Check"
_PER_SECOND = 3_000
_P99_SECONDS = 0.005
_SECONDS = 3.0
_TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
"""Stands for the tokens that are asked for."""
_THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
_PLANTED = 4_000
_NAME = "shop0.bench.example.net"


@dataclass(slots=True)
class _Runs:
    """What one server did: as fast as it could, and at half of what is promised."""

    what: str
    fastest: list[dict[str, Any]] = field(default_factory=list)
    at_half: list[dict[str, Any]] = field(default_factory=list)

    def rate(self) -> float:
        """Calls a second as fast as they are answered, the median of the rounds."""
        return float(median(len(each["latencies"]) / each["seconds"] for each in self.fastest))

    def cpu(self) -> float:
        """CPU seconds of the server for one call then."""
        return float(median(each["server_cpu_seconds"] / len(each["latencies"]) for each in self.fastest))

    def p(self, percent: float, what: str = "latencies") -> float:
        """Latency at half of the promised rate, in seconds, the median of the rounds."""
        return median(percentile(each[what], percent) for each in self.at_half)

    def waited(self) -> float:
        """How much of the time the server's threads waited for a core then; more than one of them can."""
        return median(each["server_waited_seconds"] / each["seconds"] for each in self.at_half)

    def cells(self, bare: "_Runs") -> tuple[str, ...]:
        """Returns the row of the table."""
        client = median(each["client_cpu_seconds"] / len(each["latencies"]) for each in self.fastest)
        return (
            self.what,
            f"{self.rate():,.0f}",
            f"{self.cpu() * 1e6:.0f} µs",
            ratio(bare.cpu() / self.cpu()),
            f"{client * 1e6:.0f} µs",
            *map(milliseconds, (self.p(50), self.p(99), self.p(99, "late"))),
            f"{self.waited():.0%}",
        )


def measure(options: Options) -> Section:
    """Measures it."""
    return asyncio.run(_measure(options))


async def _measure(options: Options) -> Section:
    seconds = 0.5 if options.quick else _SECONDS
    planted, unknown, bare = _Runs("serve: a planted token"), _Runs("serve: an unknown token"), _Runs("bare loop: an echo")
    async with stand() as made:
        tokens = made.directory / "tokens"
        tokens.write_text("\n".join(await _plant(made)))
        nothing = made.directory / "nothing"
        nothing.write_bytes(b"")
        async with made.serve() as served:
            process, address = await started("bench.load.bare_server", [str(nothing)], made.directory / "bare.log")
            async with process:
                request = b64encode(_request(_TOKEN)).decode()
                ours = check_client.Work(served.xds, served.process.pid, _CHECK, request, seconds, _TOKEN)
                turns = [
                    (planted, replace(ours, tokens_file=str(tokens))),
                    (unknown, ours),
                    (bare, replace(ours, address=address, server_pid=process.pid, path=ECHO)),
                ]
                for index in range(options.repeats):
                    for runs, work in turns if index % 2 else reversed(turns):
                        runs.fastest.append(await answered(check_client.__name__, work))
                        runs.at_half.append(await answered(check_client.__name__, replace(work, rate=_PER_SECOND / 2)))
    _verify(planted, HTTPStatus.OK, f"{_TOKEN}.{_THUMBPRINT}")
    _verify(unknown, HTTPStatus.NOT_FOUND)
    half = f"at {_PER_SECOND // 2:,}/s: p50"
    table = Table(
        "HTTP-01 requests through ext_authz",
        ("", "checks/s", "CPU for one", "the echo's against it", "client's CPU", half, "p99", "sent late, p99", "waited for a core"),
        [runs.cells(bare) for runs in (planted, unknown, bare)],
        "How many requests of CAs, or of strangers who know the path, one `serve` answers. A planted token is asked for five times within a"
        " moment, as Let's Encrypt does from five places; of these `serve` reads the first from the store, and of unknown tokens each one."
        " The client sends whatever it waits for, and is late for lack of a core only; latencies count from when a call was sent."
        " *Waited for a core* is how long the server's threads could have run but did not, of the time that passed: with more than a few"
        " per cent of it, latencies are the machine's.",
    )
    promises = [
        promise
        for runs, what in ((planted, "planted"), (unknown, "unknown"))
        for promise in (
            Promise(f"{what} token: checks/s of {_PER_SECOND:,}", runs.rate() / _PER_SECOND, 1.0, at_least=True),
            Promise(f"{what} token: p99 at {_PER_SECOND // 2:,}/s of 5 ms", runs.p(99) / _P99_SECONDS, 1.0),
        )
    ]
    raw = {runs.what: {"fastest": runs.fastest, "at_half": runs.at_half} for runs in (planted, unknown, bare)}
    return Section("Challenges", [table], promises, raw)


async def _plant(made: Stand) -> list[str]:
    """Plants tokens; returns them."""
    client = connect(made.valkey.url)
    store = RedisTokenStore(client, load_key_directory(made.worker_keys).authenticator())
    tokens, expire_time = [secrets.token_urlsafe(32) for _ in range(_PLANTED)], datetime.now(UTC) + timedelta(hours=1)
    for token in tokens:
        await store.plant(TokenRecord(token, SecretBytes(f"{token}.{_THUMBPRINT}".encode()), (_NAME,), expire_time))
    await client.aclose()
    return tokens


def _request(token: str) -> bytes:
    """Returns what Envoy asks about the GET of a CA."""
    request = external_auth_pb2.CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path, http.protocol = "GET", _NAME, f"/.well-known/acme-challenge/{token}", "HTTP/1.1"
    http.headers.update({":authority": _NAME, ":path": http.path, ":method": "GET", "host": _NAME})
    request.attributes.source.address.socket_address.address = "192.0.2.1"
    return bytes(request.SerializeToString())


def _verify(runs: _Runs, status: int, body: str | None = None) -> None:
    """Makes sure that the right thing was measured."""
    for each in (*runs.fastest, *runs.at_half):
        denied = external_auth_pb2.CheckResponse.FromString(b64decode(each["answer"])).denied_response
        if denied.status.code != status or body not in (None, denied.body):
            raise AssertionError(f"a check was answered with {denied}")
