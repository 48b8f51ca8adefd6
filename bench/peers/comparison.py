"""The section `peers`: our path beside the others, on the same certificates, in turns."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence

from bench.load.stand import answered, stand
from bench.peers import split, stream_floor
from bench.peers.caddy import Caddy
from bench.peers.clients import clients
from bench.peers.envoy_static import EnvoyStatic
from bench.peers.haproxy import HaProxy
from bench.peers.material import Material, RecordingCa, make_material
from bench.peers.nginx import Nginx
from bench.peers.on_demand import OnDemand
from bench.peers.passes import Pass, one_repeat
from bench.peers.peer import Peer
from bench.peers.results import Results
from bench.section import Options, Section
from controlplane.core.errors import ConfigurationError

_QUICK_DOMAINS = 300
_SPLIT_NAMES = 1000


def measure(options: Options) -> Section:
    """Measures every server `options.repeats` times."""
    return asyncio.run(_measure(options)).section()


async def _measure(options: Options) -> Results:
    ours, prefetched, lazy = OnDemand(), OnDemand(prefetch=True), Caddy(lazy=True)
    if reason := lazy.missing():
        # Unlike the others: what is promised is promised against it.
        raise ConfigurationError(reason)
    others: list[Peer] = [
        Caddy(lazy=False),
        HaProxy(),
        Nginx(by_variable=False),
        Nginx(by_variable=True),
        EnvoyStatic(chains=False),
        EnvoyStatic(chains=True),
    ]
    wanted: list[Peer] = [ours, lazy, prefetched, *others]
    left_out = list(dict.fromkeys(reason for peer in wanted if (reason := peer.missing())))
    for reason in left_out:
        print(f"peers: {reason}", file=sys.stderr, flush=True)
    peers = [peer for peer in wanted if peer.missing() is None]
    names = [f"shop{index}.bench.example.net" for index in range(_QUICK_DOMAINS if options.quick else options.domains)]
    passes: dict[str, list[Pass]] = {peer.name: [] for peer in peers}
    async with contextlib.AsyncExitStack() as stack:
        made = await stack.enter_async_context(stand(RecordingCa()))
        material = await make_material(made, names)
        ready = await stack.enter_async_context(clients(material.roots))
        for repeat in range(options.repeats):
            begun = time.monotonic()
            done = await one_repeat(_rotated(peers, repeat), material, ready, made.directory / f"repeat-{repeat}")
            for name, found in done.items():
                passes[name].append(found)
            print(f"peers: {repeat + 1} of {options.repeats} in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        parts = await _split(material)
    return Results(len(names), passes, parts, left_out, ours=ours.name, prefetched=prefetched.name, lazy=lazy.name)


async def _split(material: Material) -> dict[str, float]:
    """Returns CPU seconds of the parts of one first touch in the control plane."""
    work = split.Work(material.stand.valkey.url, str(material.stand.serve_keys), material.names[:_SPLIT_NAMES])
    return {**await answered("bench.peers.split", work), **await answered("bench.peers.stream_floor", stream_floor.Work(_SPLIT_NAMES))}


def _rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    by %= len(peers)
    return [*peers[by:], *peers[:by]]
