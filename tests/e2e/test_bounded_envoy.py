"""An Envoy keeps every name that it has ever fetched. Certplane bounds that, and no good handshake fails by it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.load import hello_client, visitor_client
from bench.load.bounded import spelled
from bench.load.stand import answered
from bench.million.authority import LifelikeCa
from bench.million.filling import fill_fast, name_of
from bench.processes import resident_bytes
from tests.e2e.installation import Installation, installation

CAP = 256
NAMES = 2_000
VISITED = 20
VISITS_A_SECOND = 20.0
SECONDS = 12.0
# Until the memory that is compared: that of an Envoy that is full and has begun to give names up.
FILLING = CAP + CAP // 10


async def touch(made: Installation, names: Sequence[str]) -> Counter[str]:
    """Sends a ClientHello for each name, several at a time; counts what came back."""
    path = made.directory / "touched"
    path.write_text("\n".join(names))
    done = await answered(hello_client.__name__, hello_client.Work(made.https_port, str(path), at_once=8))
    return Counter(done["verdicts"])


async def visit(made: Installation, names: Sequence[str]) -> tuple[int, int]:
    """Lets visitors come at their own rate, fully verified; returns how many got through and how many did not."""
    path = made.directory / "visited"
    path.write_text("\n".join(names))
    work = visitor_client.Work(made.https_port, str(made.roots), str(path), VISITS_A_SECOND, SECONDS)
    done = await answered(visitor_client.__name__, work)
    return len(done["latencies"]), done["failed"]


async def held(made: Installation) -> int:
    """How many certificates Envoy holds."""
    (active,) = (await made.envoy_stats("on_demand_secret.cert_active")).values()
    return active


async def test_envoy_stays_at_the_cap_while_strangers_try_names_and_spellings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a cap, 2,000 names and then 2,000 spellings of one leave Envoy at the cap, its memory flat, and no handshake failed."""
    monkeypatch.setenv("CERTPLANE_MAX_SECRETS_PER_NODE", str(CAP))
    async with installation(tmp_path, worker=False) as made:
        authority = LifelikeCa()
        made.roots.write_bytes(authority.root_pem)
        await asyncio.to_thread(fill_fast, made.valkey.socket_path, made.worker_keys, authority, NAMES)
        names = [name_of(index) for index in range(NAMES)]

        touched = await touch(made, names[:FILLING])
        full = resident_bytes(made.envoy.pid)
        async with asyncio.TaskGroup() as tasks:
            visits = tasks.create_task(visit(made, names[:VISITED]))
            touched += await touch(made, names)
            after_names = await held(made)
            touched += await touch(made, spelled(names[0], NAMES))
        after_spellings = await held(made)
        metrics = await made.metrics(made.serve_metrics)
        stats = await made.envoy_stats("^cluster.certplane_xds.upstream_rq_total$")

        assert {"server hello": FILLING + 2 * NAMES} == touched
        assert (int(VISITS_A_SECOND * SECONDS), 0) == visits.result()
        assert (CAP, CAP) == (after_names, after_spellings)
        assert resident_bytes(made.envoy.pid) <= 1.1 * full
        assert metrics.get('certplane_xds_nacks_total{variant="delta_ads"}', 0) == 0
        # One stream from the beginning to the end.
        assert {"cluster.certplane_xds.upstream_rq_total": 1} == stats
