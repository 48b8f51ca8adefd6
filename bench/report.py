"""What was measured, as tables, as JSON, and against the limits."""

from dataclasses import asdict, dataclass
from statistics import mean, median
from typing import Any

from bench.handshakes import Handshakes
from bench.onboarding import Onboardings
from bench.tables import milliseconds, percentile, ratio, table

MOST_ONBOARDING_RATIO = 1.5
MOST_RESIDENT_BYTES = 90_000_000


@dataclass(frozen=True, slots=True)
class Limit:
    """A promise: `value` must not be above `most`; `shown` is the value for people."""

    what: str
    value: float
    most: float
    shown: str

    @property
    def kept(self) -> bool:
        """Whether the promise is kept."""
        return self.value <= self.most


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one run measured. Memory is in bytes, by process."""

    onboarded: Onboardings
    shaken: Handshakes
    domains: int
    memory: dict[str, int]
    peaks: dict[str, int]

    def limits(self) -> list[Limit]:
        """Returns what was promised."""
        onboarding = median(self.onboarded.served) / median(self.onboarded.bare)
        memory = [
            Limit(f"memory of {role}", self.memory[role], MOST_RESIDENT_BYTES, _megabytes(self.memory[role]))
            for role in ("serve", "worker")
        ]
        return [Limit("onboard-to-served against the bare client", onboarding, MOST_ONBOARDING_RATIO, ratio(onboarding)), *memory]

    def markdown(self) -> str:
        """Returns all tables."""
        parts = [self._limits(), self._onboarding(), self._where_time_goes(), self._handshakes(), self._memory()]
        return "\n".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Returns everything, durations in seconds, with the limits."""
        return {
            "limits": [{"what": limit.what, "value": limit.value, "most": limit.most, "kept": limit.kept} for limit in self.limits()],
            "domains": self.domains,
            "onboarding": asdict(self.onboarded),
            "handshakes": asdict(self.shaken),
            "resident_bytes": self.memory,
            "peak_resident_bytes": self.peaks,
        }

    def _limits(self) -> str:
        rows = [
            (limit.what, limit.shown, ratio(limit.value / limit.most), "kept" if limit.kept else "**missed**") for limit in self.limits()
        ]
        return table("Limits", ("what", "measured", "of the limit", ""), rows)

    def _onboarding(self) -> str:
        found, base = self.onboarded, median(self.onboarded.bare)
        rows = [
            ("CreateDomain → verified handshake", found.served),
            ("bare `acme` client, order → chain", found.bare),
            ("the same, stock `poll_and_finalize`, once", [found.stock]),
        ]
        cells = [
            (what, ratio(median(values) / base), milliseconds(median(values)), milliseconds(percentile(values, 90)) if values[1:] else "–")
            for what, values in rows
        ]
        title = f"Onboard to served, one domain at a time ({len(found.served)} domains, {found.failed_handshakes} handshakes too early)"
        return table(title, ("", "ratio", "p50", "p90"), cells)

    def _where_time_goes(self) -> str:
        found, total = self.onboarded, mean(self.onboarded.served)
        parts = [("CreateDomain answers", mean(found.created))]
        parts += [(f"worker: {step}", seconds) for step, seconds in found.steps.items()]
        shaken = ("first handshake", mean(found.handshake))
        rest = total - sum(seconds for _, seconds in [*parts, shaken])
        parts += [("the rest: wake-up, lease, other writes, watch", rest), shaken, ("all", total)]
        rows = [(what, milliseconds(seconds), f"{seconds / total:.0%}") for what, seconds in parts]
        where = table("Where the time of an onboarding goes (means)", ("", "time", "share"), rows)
        # Steadier than durations on a machine that others use too.
        used = sum(found.cpu.values())
        cpu = [(name, milliseconds(seconds), f"{seconds / used:.0%}") for name, seconds in found.cpu.items()]
        cpu.append(("all", milliseconds(used), f"{used / total:.2f} cores busy"))
        return "\n".join((where, table("CPU time of an onboarding", ("process", "time", "share"), cpu)))

    def _handshakes(self) -> str:
        found = self.shaken
        pairs = [
            ("first touch", found.first_touch, found.static_beside_first),
            ("warm", found.warm, found.static_beside_warm),
        ]
        rows = []
        for what, values, static in pairs:
            for name, durations in ((what, values), ("static certificate beside it", static)):
                p50, p99 = percentile(durations, 50), percentile(durations, 99)
                against = (p50 / percentile(static, 50), p99 / percentile(static, 99))
                rows.append((name, ratio(against[0]), ratio(against[1]), milliseconds(p50), milliseconds(p99)))
        title = f"Handshakes through Envoy, one connection at a time ({self.domains:,} domains in the store)"
        return table(title, ("", "ratio p50", "ratio p99", "p50", "p99"), rows)

    def _memory(self) -> str:
        rows = []
        for name, resident in self.memory.items():
            limited = ratio(resident / MOST_RESIDENT_BYTES) if name in ("serve", "worker") else "–"
            rows.append((name, limited, _megabytes(resident), _megabytes(self.peaks[name])))
        title = f"Memory with {self.domains:,} domains in the store, after all were touched"
        return table(title, ("process", "of the limit", "resident", "most"), rows)


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"
