"""What the passes of all servers say, as tables and promises."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.peers.passes import Pass, Stage
from bench.section import Promise, Section, Table
from bench.tables import milliseconds, percentile, ratio

MOST_FIRST_TOUCH_SECONDS = 0.001
MOST_CONTROL_PLANE_SECONDS = 0.0004
LEAST_OF_LAZY_RATE = 0.9
REFERENCE_OPEN_SECONDS = 0.000052
# "No difference", of two medians on a machine with other work.
MOST_PREFETCHED_RATIO = 1.1

Measured = Callable[[Pass], float]


def _first(percent: float) -> Measured:
    return lambda each: percentile(each.first.seconds, percent)


def _warm(each: Pass) -> float:
    return percentile(each.warm.seconds, 50)


def _p50(stage: Callable[[Pass], Stage]) -> Measured:
    return lambda each: percentile(stage(each).seconds, 50)


def _rate(stage: Callable[[Pass], Stage]) -> Measured:
    return lambda each: stage(each).rate


def _cpu(stage: Callable[[Pass], Stage], part: str) -> Measured:
    return lambda each: stage(each).cpu_each(part)


def _memory(each: Pass) -> float:
    """Returns bytes of proxy and control plane. The store is left out as the others' file system is."""
    return float(each.memory["proxy"] + each.memory.get("control plane", 0))


@dataclass(frozen=True, slots=True)
class Results:
    """All passes by the server's name; `parts` are CPU seconds of the control plane's parts; `left_out` says what was not there."""

    domains: int
    passes: Mapping[str, Sequence[Pass]]
    parts: Mapping[str, float]
    left_out: Sequence[str]
    ours: str
    prefetched: str
    lazy: str

    def section(self) -> Section:
        """Returns the section."""
        tables = [self._overview(), self._ratios(), self._renewals(), self._cpu(), self._control_plane(), self._limits()]
        raw: dict[str, Any] = {"domains": self.domains, "left_out": list(self.left_out), "control_plane_parts": dict(self.parts)}
        raw["passes"] = {name: [asdict(each) for each in passes] for name, passes in self.passes.items()}
        return Section(f"The path and its peers: {self.domains:,} certificates", tables, self._promises(), raw)

    def _of(self, name: str, measured: Measured) -> float:
        """Returns the median of the passes."""
        return median(measured(each) for each in self.passes[name])

    def _ratio(self, name: str, base: str, measured: Measured) -> float:
        """Returns the median of the ratios of passes that were measured in the same turn."""
        pairs = zip(self.passes[name], self.passes[base], strict=True)
        return median(measured(each) / measured(other) for each, other in pairs)

    def _promises(self) -> list[Promise]:
        ours = self.passes[self.ours]
        above_warm = median((_first(50)(each) - _warm(each)) / MOST_FIRST_TOUCH_SECONDS for each in ours)
        control_plane = median(each.first.cpu_each("control plane") / MOST_CONTROL_PLANE_SECONDS for each in ours)
        prefetched = median(_first(50)(each) / _warm(each) for each in self.passes[self.prefetched])
        rate = self._ratio(self.ours, self.lazy, lambda each: each.first_eight.rate)
        return [
            Promise("first touch p50 above warm p50, in ms", above_warm, 1.0),
            Promise("CPU of the control plane for a first touch, of 0.40 ms", control_plane, 1.0),
            Promise("prefetched: first touch p50 of warm p50", prefetched, MOST_PREFETCHED_RATIO),
            Promise(
                "handshakes that failed, all servers", float(sum(each.failed for passes in self.passes.values() for each in passes)), 0.0
            ),
            Promise("first touch p99 of Caddy lazy's", self._ratio(self.ours, self.lazy, _first(99)), 1.0),
            Promise("first touches/s at 8 at a time, of Caddy lazy's", rate, LEAST_OF_LAZY_RATE, at_least=True),
        ]

    def _overview(self) -> Table:
        rows = [
            (
                name,
                f"{self._of(name, lambda each: each.start):.2f} s",
                self._memory_text(name),
                f"{milliseconds(self._of(name, _first(50)))} / {milliseconds(self._of(name, _first(99)))}",
                milliseconds(self._of(name, _warm)),
                f"{self._of(name, lambda each: each.first_eight.rate):.0f}/s",
                f"{self._of(name, lambda each: each.warm_eight.rate):.0f}/s",
            )
            for name in self.passes
        ]
        head = (
            "",
            "start to first handshake",
            "memory, all loaded",
            "first touch p50 / p99",
            "warm p50",
            "first touches, 8 at a time",
            "warm, 8 at a time",
        )
        control_plane = self._of(self.ours, lambda each: each.control_plane_start)
        settled = self._of(self.prefetched, lambda each: each.settled)
        meaning = (
            f"The control plane of *{self.ours}* was running; from nothing it was ready in {control_plane:.2f} s. "
            f"*{self.prefetched}* had all names {settled:.2f} s after its start. "
            "Memory is proxy and, after the plus, control plane."
        )
        return Table("Start, memory, handshakes", head, rows, " ".join([meaning, *(f"Left out: {reason}." for reason in self.left_out)]))

    def _memory_text(self, name: str) -> str:
        proxy = f"{self._of(name, lambda each: each.memory['proxy']) / 1e6:.0f}"
        if "control plane" not in self.passes[name][0].memory:
            return f"{proxy} MB"
        return f"{proxy} + {self._of(name, lambda each: each.memory['control plane']) / 1e6:.0f} MB"

    def _ratios(self) -> Table:
        measures: list[Measured] = [
            lambda each: each.start,
            _memory,
            _first(50),
            _first(99),
            _warm,
            lambda each: each.first_eight.rate,
            lambda each: each.warm_eight.rate,
        ]
        rows = [(name, *(ratio(self._ratio(name, self.ours, measured)) for measured in measures)) for name in self.passes]
        head = ("", "start", "memory", "first touch p50", "p99", "warm p50", "first touches/s at 8", "warm/s at 8")
        return Table(f"The same, in multiples of *{self.ours}*", head, rows)

    def _renewals(self) -> Table:
        rows = []
        for name, passes in self.passes.items():
            for way in passes[0].renewals:
                times = [seconds for each in passes for seconds in each.renewals[way]]
                rows.append((name, way, _seconds(median(times)), _seconds(max(times))))
        meaning = "From the beginning of the write, to the store or to the files, until a client was served with the new certificate."
        return Table("A renewed certificate is served after", ("", "way", "median", "longest"), rows, meaning)

    def _cpu(self) -> Table:
        rows = []
        for name in self.passes:
            first, warm = (self._of(name, _cpu(stage, "proxy")) for stage in (lambda each: each.first, lambda each: each.warm))
            others = [self._of(name, _cpu(lambda each: each.first, part)) for part in ("control plane", "store")]
            client = self._of(name, lambda each: each.warm.client_cpu / len(each.warm.seconds))
            cells = [_hundredths(seconds) for seconds in (first, warm, first - warm)]
            rows.append((name, *cells, *(_hundredths(seconds) if seconds else "–" for seconds in others), _hundredths(client)))
        head = ("", "proxy, first touch", "proxy, warm", "difference", "control plane, first touch", "store, first touch", "client")
        meaning = (
            "One connection at a time. The difference is the proxy's own share of a first touch. "
            "The client's work is the same in all rows; at eight at a time it shares the cores with the server."
        )
        return Table("CPU time of one handshake", head, rows, meaning)

    def _control_plane(self) -> Table:
        whole = self._of(self.ours, lambda each: each.first.cpu_each("control plane"))
        eight = self._of(self.ours, lambda each: each.first_eight.cpu_each("control plane"))
        names = {
            "look up": "look-up: read, authenticate, decode",
            "open": "open the leaf key",
            "make": "make and check the PEM pair",
            "gRPC": "gRPC: a request in, the answer out, an ACK in",
        }
        parts = [(names[part], seconds) for part, seconds in self.parts.items()]
        rest = whole - sum(seconds for _, seconds in parts)
        rows = [
            (what, _hundredths(seconds), f"{seconds / whole:.0%}") for what, seconds in (*parts, ("the rest: xDS, tasks, caches", rest))
        ]
        rows += [("all, one at a time", _hundredths(whole), "100%"), ("all, eight at a time", _hundredths(eight), f"{eight / whole:.0%}")]
        meaning = (
            "The parts are the same code, called name by name in a process of its own, and a bare grpc.aio stream with ready bytes; "
            "the rest is what remains of the measured sum. "
            f"Opening takes {REFERENCE_OPEN_SECONDS * 1e6:.0f} µs on an idle core of the machine that the promises were made on: "
            f"it took {self.parts['open'] / REFERENCE_OPEN_SECONDS:.1f} times as long here, as will all that is measured in milliseconds."
        )
        return Table("CPU time of the control plane for one first touch", ("", "time", "share"), rows, meaning)

    def _limits(self) -> Table:
        kinds: list[tuple[str, Callable[[Pass], Stage], Callable[[Pass], Stage]]] = [
            ("on demand, warm", lambda each: each.warm, lambda each: each.warm_eight),
            ("one static certificate", lambda each: each.static, lambda each: each.static_eight),
        ]
        rows = [
            (f"{name}: {what}", milliseconds(self._of(name, _p50(one))), f"{self._of(name, _rate(eight)):.0f}/s")
            for name in (self.ours, self.prefetched)
            for what, one, eight in kinds
        ]
        return Table("The limit: the same Envoy with a static certificate", ("", "p50", "8 at a time"), rows)


def _hundredths(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _seconds(seconds: float) -> str:
    return milliseconds(seconds) if seconds < 0.1 else f"{seconds:.1f} s"
