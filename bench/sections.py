"""The sections of `make bench`, in the order in which they run: a name for `--only`, and the module with `measure(options) -> Section`.

They are imported one by one when they are run, so that what one of them needs does not stop the others.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from bench.section import Options, Section

SECTIONS: Mapping[str, str] = {
    "limits": "bench.load.limits",
    "bulk": "bench.load.bulk",
    "fan-out": "bench.load.fan_out",
    "reconnect": "bench.load.reconnect",
    "checks": "bench.load.checks",
    "flood": "bench.load.flood",
    "bounded": "bench.load.bounded",
    "sealing": "bench.sealing",
    "peers": "bench.peers.comparison",
}


def measure(name: str, options: Options) -> Section:
    """Measures the section that is called `name`."""
    function = cast("Callable[[Options], Section]", import_module(SECTIONS[name]).measure)
    return function(options)
