"""Limits: what this machine and the parts under Certplane can do at most, without Certplane."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from bench.installation import STATIC_NAME
from bench.load import bulk_client, check_client, hello_client, hpke_client
from bench.load.bare_server import ECHO
from bench.load.edge import Edge, edge
from bench.load.process_time import cpu_seconds
from bench.load.stand import Stand, answered, stand, started
from bench.load.wire import ready_answers, recording
from bench.section import Options, Section, Table
from controlplane.core.sealing import Scheme

_OPENS = 10_000
_SECONDS = 3.0
_HANDSHAKES = 3_000
_STREAMS, _NAMES, _RESOURCES_PER_ANSWER, _SECRET_BYTES = 100, 1_000, 64, 2_200
_ECHO_BYTES = 256
_WARM = "warm.bench.example.net"


def measure(options: Options) -> Section:
    """Measures it."""
    return asyncio.run(_measure(options))


async def _measure(options: Options) -> Section:
    share = 20 if options.quick else 1
    opens, handshakes, seconds = _OPENS // share, _HANDSHAKES // share, _SECONDS / share
    raw: dict[str, list[Any]] = {}

    def note(what: str, rate: float, cpu: float) -> None:
        raw.setdefault(what, []).append({"rate": rate, "cpu_seconds": cpu})

    async with stand() as made, made.serve() as served, edge(made, served) as front:
        await made.fill([_WARM])
        for _ in range(options.repeats):
            for scheme, label in ((Scheme.HPKE_X25519, "X25519"), (Scheme.HPKE_MLKEM768_X25519, "ML-KEM-768 + X25519")):
                for how, outcomes in await _opened(int(scheme), opens):
                    count = sum(each["opens"] for each in outcomes)
                    note(
                        f"HPKE open, {label}, {how}",
                        count / max(each["seconds"] for each in outcomes),
                        sum(each["cpu_seconds"] for each in outcomes) / count,
                    )
            for label, port, name in (
                ("one static certificate", front.static_port, STATIC_NAME),
                ("on demand, warm", front.https_port, _WARM),
            ):
                note(f"Envoy, handshakes, {label}", *await _handshakes(made, front, port, name, handshakes))
            await _grpc(made, seconds, note)
    rows = [
        (what, f"{median(each['rate'] for each in found):,.0f}/s", f"{median(each['cpu_seconds'] for each in found) * 1e6:,.1f} µs")
        for what, found in raw.items()
    ]
    table = Table(
        "Limits of the parts",
        ("", "rate", "CPU for one"),
        rows,
        "What nothing built on these parts can beat on this machine. Opening holds the interpreter's lock, so threads add nothing and"
        " processes do. A handshake counts until the server has answered, which is all of its cryptography; Envoy has one worker thread.",
    )
    return Section("Limits", [table], (), raw)


async def _opened(scheme: int, opens: int) -> list[tuple[str, Sequence[dict[str, Any]]]]:
    """Opens in one thread, in two threads, in two processes."""
    one, two = hpke_client.Work(scheme, opens), hpke_client.Work(scheme, opens, threads=2)
    return [
        ("one thread", [await answered(hpke_client.__name__, one)]),
        ("two threads", [await answered(hpke_client.__name__, two)]),
        ("two processes", await asyncio.gather(*(answered(hpke_client.__name__, one) for _ in range(2)))),
    ]


async def _handshakes(made: Stand, front: Edge, port: int, name: str, count: int) -> tuple[float, float]:
    """Returns the rate and Envoy's CPU seconds for one."""
    names = made.directory / "handshakes"
    names.write_text("\n".join([name] * count))
    before = cpu_seconds(front.process.pid)
    done = await answered(hello_client.__name__, hello_client.Work(port, str(names), at_once=16))
    if set(done["verdicts"]) != {"server hello"}:
        raise AssertionError(f"not all were served: {done['verdicts']}")
    return count / done["seconds"], (cpu_seconds(front.process.pid) - before) / count


async def _grpc(made: Stand, seconds: float, note: Callable[[str, float, float], None]) -> None:
    """Measures the bare grpc.aio server: ready bytes on many streams, and unary echoes."""
    names = [f"name{index}" for index in range(_NAMES)]
    names_file, recorded = made.directory / "bare-names", made.directory / "bare-answers"
    names_file.write_text("\n".join(names))
    recorded.write_bytes(recording(ready_answers(names, _SECRET_BYTES, _RESOURCES_PER_ANSWER)))
    process, address = await started("bench.load.bare_server", [str(recorded)], made.directory / "bare.log")
    async with process:
        done = await answered(bulk_client.__name__, bulk_client.Work(address, process.pid, _STREAMS, str(names_file), warm=True))
        note(
            f"grpc.aio, ready secrets of {_SECRET_BYTES:,} bytes, {_RESOURCES_PER_ANSWER} a message",
            done["resources"] / done["seconds"],
            done["server_cpu_seconds"] / done["resources"],
        )
        echo = check_client.Work(address, process.pid, ECHO, b64encode(bytes(_ECHO_BYTES)).decode(), seconds)
        done = await answered(check_client.__name__, echo)
        calls = len(done["latencies"])
        note("grpc.aio, unary echoes", calls / done["seconds"], done["server_cpu_seconds"] / calls)
