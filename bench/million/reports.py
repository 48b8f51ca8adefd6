"""What was measured with a million domains, as tables."""

from collections.abc import Sequence
from statistics import median

from bench.million.measuring import CADDY, FEW, MANY, Found, Pass
from bench.section import Table
from bench.tables import milliseconds, percentile, ratio

_TARGETS = (MANY, FEW, CADDY)


def durations(passes: Sequence[Pass], target: str) -> tuple[list[float], list[float]]:
    """Returns how long the first touches of all passes took, and the touches after them; seconds."""
    cold = [seconds for each in passes for seconds in each.cold[target].durations]
    return cold, [seconds for each in passes for seconds in each.warm[target].durations]


def rate(passes: Sequence[Pass], target: str) -> float:
    """Returns first touches a second, the median of all passes."""
    return median(each.cold[target].rate for each in passes)


def first_touch_cpu(found: Found) -> tuple[float, float]:
    """Returns the CPU seconds of `serve` for a first touch, and Envoy's: what it takes more than for a touch that follows."""
    cold, warm = _cpu(found.one, MANY, cold=True), _cpu(found.one, MANY, cold=False)
    return cold["serve"], cold["Envoy"] - warm["Envoy"]


def tables(found: Found) -> list[Table]:
    """Returns all tables."""
    return [_starts(found), _one(found), _several(found), _cpu_table(found), _split(found), _size(found), _made(found)]


def _starts(found: Found) -> Table:
    many, few = found.starts[MANY], found.starts[FEW]
    rows = [
        ("`serve`, until it is ready", ratio(median(many.ready) / median(few.ready)), _seconds(many.ready), _seconds(few.ready)),
        (
            "CPU time of `serve` by then",
            ratio(median(many.ready_cpu) / median(few.ready_cpu)),
            _seconds(many.ready_cpu),
            _seconds(few.ready_cpu),
        ),
        (
            "`serve`, then Envoy, until the first verified handshake",
            ratio(median(many.served) / median(few.served)),
            _seconds(many.served),
            _seconds(few.served),
        ),
        (
            "memory of `serve` before any Envoy connects",
            ratio(median(many.resident) / median(few.resident)),
            _megabytes(median(many.resident)),
            _megabytes(median(few.resident)),
        ),
        (
            "what it has asked the store for by then",
            ratio(median(many.commands) / median(few.commands)),
            _asked(many.commands, many.received_bytes),
            _asked(few.commands, few.received_bytes),
        ),
    ]
    return Table(
        f"Start ({len(many.ready)} of each, medians)",
        ("", "ratio", *_domains(found)),
        rows,
        "A start does not read the store: it costs the same with any number of domains. How long Valkey takes to read its own file is said"
        " below; `serve` may be restarted without it.",
    )


def _one(found: Found) -> Table:
    rows = []
    _, base = durations(found.one, MANY)
    for target in _TARGETS:
        for what, values in zip(("first touch", "warm"), durations(found.one, target), strict=True):
            p50, p99 = percentile(values, 50), percentile(values, 99)
            of_base = (ratio(p50 / percentile(base, 50)), ratio(p99 / percentile(base, 99)))
            rows.append((f"{_label(found, target)}: {what}", *of_base, milliseconds(p50), milliseconds(p99)))
    cold, _ = durations(found.one, MANY)
    return Table(
        f"Handshakes at random names, one connection at a time ({len(cold):,} each, in turns)",
        ("", "ratio p50", "ratio p99", "p50", "p99"),
        rows,
        "A first touch reads the record, opens the leaf key and hands both to Envoy; the visitor who comes first waits for that once."
        " Every later handshake is served from Envoy's memory. Ratios are to the warm handshakes of the large store. Caddy reads its"
        " certificate and its key, which lie open, from files.",
    )


def _several(found: Found) -> Table:
    base = rate(found.several, MANY)
    rows = []
    for target in _TARGETS:
        cold, warm = durations(found.several, target)
        warm_rate = median(each.warm[target].rate for each in found.several)
        for what, values, a_second in (("first touch", cold, rate(found.several, target)), ("warm", warm, warm_rate)):
            cells = (ratio(a_second / base), f"{a_second:,.0f}", milliseconds(percentile(values, 50)), milliseconds(percentile(values, 99)))
            rows.append((f"{_label(found, target)}: {what}", *cells))
    return Table(
        "The same, eight connections at a time",
        ("", "ratio", "a second", "p50", "p99"),
        rows,
        "All processes share this machine's cores with the eight clients, so these are no capacities: the CPU times below are."
        " Ratios are to the first touches at the large store.",
    )


def _cpu_table(found: Found) -> Table:
    rows = []
    for what, passes in (("one at a time", found.one), ("eight at a time", found.several)):
        for target in _TARGETS:
            cold, warm = _cpu(passes, target, cold=True), _cpu(passes, target, cold=False)
            cells = [
                f"{_microseconds(cold[process])} / {_microseconds(warm[process])}" if process in cold else "–"
                for process in ("serve", "Envoy", "Valkey", "Caddy", "client")
            ]
            rows.append((f"{_label(found, target)}, {what}", *cells))
    return Table(
        "CPU time of one handshake in µs, first touch / warm",
        ("", "`serve`", "Envoy", "Valkey", "Caddy", "client"),
        rows,
        "What a core can do: divide a second by it.",
    )


def _split(found: Found) -> Table:
    whole, lookup, opening, bare = (median(getattr(each, part) for each in found.shares) for part in ("whole", "lookup", "opening", "bare"))
    plain, envoy = first_touch_cpu(found)
    rest = whole - lookup - opening
    rows = [
        (what, _microseconds(seconds), f"{seconds / whole:.0%}", ratio(seconds / opening))
        for what, seconds in (
            ("look-up in the store: one pipeline of commands, its answer decoded and authenticated", lookup),
            ("leaf key opened (HPKE)", opening),
            ("the rest: gRPC, event loop, protocol, key checked and serialised", rest),
            ("of the rest, what a bare server in grpc.aio takes that has every answer ready", bare),
            ("all, with the clock", whole),
            ("all, without it", plain),
            ("Envoy's own", envoy),
        )
    ]
    return Table(
        "Where the CPU time of `serve` goes in a first touch",
        ("", "µs", "share", "in openings"),
        rows,
        "Measured inside `serve`, one connection at a time. The last column is a measure that other machines share: how many leaf keys"
        " could be opened in that time.",
    )


def _size(found: Found) -> Table:
    size = found.size
    fields = ", ".join(f"{field} {length:.0f}" for field, length in sorted(size.record_fields.items(), key=lambda item: -item[1]))
    rows = [(what, f"{part:,.0f}", f"{part / size.each:.0%}") for what, part in size.parts.items()]
    rows += [
        ("all", f"{size.each:,.0f}", "100%"),
        ("the certificate before it, from the first renewal on", f"{size.renewed:,.0f}", ""),
        ("all, from the first renewal on", f"{size.each + size.renewed:,.0f}", ""),
    ]
    return Table(
        "A domain in the store, bytes",
        ("", "bytes", "share"),
        rows,
        f"Lengths of the record's fields: {fields}. The leaf certificate is as large as a public CA's. Valkey holds"
        f" {size.used / 1e9:.2f} GB for {found.plan.names:,} domains ({size.resident / 1e9:.2f} GB resident); its file has"
        f" {size.file / 1e9:.2f} GB and is read in {size.load_seconds:.1f} s.",
    )


def _made(found: Found) -> Table:
    filled = found.dump.filled
    rows: list[tuple[str, str]] = [
        ("time", f"{filled.seconds:,.0f} s"),
        ("domains a second", f"{filled.domains / filled.seconds:,.0f}"),
        (
            "CPU time of one, commands included",
            f"{_microseconds(filled.cpu_seconds / filled.domains)} µs",
        ),
        *((f"CPU time now: {what}", f"{_microseconds(seconds)} µs") for what, seconds in found.costs.items()),
        ("made in this run", "yes" if found.made_now else "no, kept from an earlier one"),
    ]
    return Table(
        f"How the {filled.domains:,} domains were made, by {filled.processes} processes",
        ("", ""),
        rows,
        "Each has its own P-256 key, sealed to the `leaf` recipient key, and a certificate signed by a private CA.",
    )


def _cpu(passes: Sequence[Pass], target: str, *, cold: bool) -> dict[str, float]:
    """Returns the CPU seconds of a handshake by process, the median of all passes."""
    touched = [each.cold[target] if cold else each.warm[target] for each in passes]
    return {process: median(each.cpu_each(process) for each in touched) for process in touched[0].cpu}


def _label(found: Found, target: str) -> str:
    return {MANY: f"{found.plan.names:,} domains", FEW: f"{found.few:,} domains", CADDY: f"Caddy, lazy, {found.few:,}"}[target]


def _domains(found: Found) -> tuple[str, str]:
    return _label(found, MANY), _label(found, FEW)


def _seconds(values: Sequence[float]) -> str:
    return f"{median(values):.2f} s"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.0f}"


def _asked(commands: Sequence[int], received: Sequence[int]) -> str:
    return f"{median(commands):,.0f} commands, {median(received) / 1e3:.0f} kB"
