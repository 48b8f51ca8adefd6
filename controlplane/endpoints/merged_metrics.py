"""The metrics of several processes as those of one: snapshots that are taken, sent, merged and exposed.

Counters and histograms are added up. So are gauges, which count what a process has (streams, memory), except those that each process
reads off the same thing: of these the rules below name the one that an operator must hear of.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

_Label: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""The name of a sample and its labels, sorted."""

Snapshot: TypeAlias = Mapping[str, "Family"]
"""Families by name, as of one moment."""

_Rule: TypeAlias = Callable[[Sequence[float]], float]

_LASTING: Final = frozenset({"counter", "histogram", "summary"})
_CREATED: Final = "_created"


def _least(values: Sequence[float]) -> float:
    """Returns the least; a process that has not looked yet says 0, and is left out while another has."""
    return min((value for value in values if value), default=0.0)


_RULES: Final[Mapping[str, _Rule]] = {
    # Each process asks the same store.
    "certplane_expired_certificates": max,
    "certplane_certificates_close_to_expiry": max,
    "certplane_least_time_to_expiry_seconds": _least,
    "certplane_least_expiry_timestamp_seconds": _least,
    # Of prometheus_client's own: when the first of them started, and what the one with the least room has.
    "process_start_time_seconds": _least,
    "process_max_fds": _least,
    "python_info": max,
}


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its samples. `kind` is Prometheus' type."""

    name: str
    documentation: str
    kind: str
    samples: Mapping[_Label, float]


def snapshot(collector: Collector) -> Snapshot:
    """Returns what a registry holds now."""
    families = {}
    for metric in collector.collect():
        samples = {(sample.name, tuple(sorted(sample.labels.items()))): float(sample.value) for sample in metric.samples}
        families[metric.name] = Family(metric.name, metric.documentation, metric.type, samples)
    return families


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Returns the snapshots as one."""
    found: dict[str, list[Family]] = {}
    for each in snapshots:
        for name, family in each.items():
            found.setdefault(name, []).append(family)
    return {name: _merged_family(families) for name, families in found.items()}


def lasting(families: Snapshot) -> Snapshot:
    """Returns what still counts of a process that has ended: what it did, not what it had."""
    return {name: family for name, family in families.items() if family.kind in _LASTING}


def _merged_family(families: Sequence[Family]) -> Family:
    values: dict[_Label, list[float]] = {}
    for family in families:
        for label, value in family.samples.items():
            values.setdefault(label, []).append(value)
    first = families[0]
    rule = _RULES.get(first.name, sum)
    samples = {label: (_least if label[0] == first.name + _CREATED else rule)(each) for label, each in values.items()}
    return Family(first.name, first.documentation, first.kind, samples)


def to_json(families: Snapshot) -> list[Any]:
    """Returns a snapshot as values that JSON has (with Infinity and NaN, which Python's reads and writes)."""
    return [
        [family.name, family.documentation, family.kind, [[name, labels, value] for (name, labels), value in family.samples.items()]]
        for family in families.values()
    ]


def from_json(content: Iterable[Any]) -> Snapshot:
    """Returns the snapshot that `to_json` was given."""
    return {
        name: Family(
            name, documentation, kind, {(sample, tuple((key, label) for key, label in labels)): value for sample, labels, value in samples}
        )
        for name, documentation, kind, samples in content
    }


class ExposedSnapshot:
    """A snapshot as a collector, for the encoders of prometheus_client."""

    def __init__(self, families: Snapshot) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Yields the families as prometheus_client's."""
        for family in self._families.values():
            metric = Metric(family.name, family.documentation, family.kind)
            for (name, labels), value in family.samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric
