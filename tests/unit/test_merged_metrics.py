"""The metrics of several processes as one."""

import json
from math import inf

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.endpoints.merged_metrics import ExposedSnapshot, Snapshot, from_json, lasting, merged, snapshot, to_json

CLOSE, LEAST = "certplane_certificates_close_to_expiry", "certplane_least_time_to_expiry_seconds"


def registry(counted: float, held: float = 0) -> CollectorRegistry:
    """A process that counted so much, by one label, and has so much."""
    made = CollectorRegistry()
    Counter("calls_total", "Calls.", ["method"], registry=made).labels('a"\\\n').inc(counted)
    Gauge("held", "Held.", registry=made).set(held)
    durations = Histogram("seconds", "Seconds.", ["method"], buckets=(1, 10), registry=made).labels("b")
    durations.observe(counted)
    Summary("size", "Size.", registry=made).observe(counted)
    return made


def gauge(name: str, value: float) -> Snapshot:
    """A process with one gauge."""
    made = CollectorRegistry()
    Gauge(name, "A gauge.", registry=made).set(value)
    return snapshot(made)


def values(families: Snapshot) -> dict[str, float]:
    """The samples as Prometheus reads them, by name with labels, without times of creation."""
    text = generate_latest(ExposedSnapshot(families)).decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found[sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items()))] = sample.value
    return found


def test_one_is_itself() -> None:
    """One process alone is shown byte for byte as it shows itself, and as it is read back from JSON."""
    one = registry(3, 5)
    expected = generate_latest(one)
    assert expected == generate_latest(ExposedSnapshot(merged([snapshot(one)])))
    assert expected == generate_latest(ExposedSnapshot(from_json(json.loads(json.dumps(to_json(snapshot(one)))))))


def test_sums() -> None:
    """Counters, gauges, every bucket, sum and count of histograms, and summaries are added up."""
    both = values(merged([snapshot(registry(3, 5)), snapshot(registry(0.5, 7))]))
    assert both == {
        'calls_total method=a"\\\n': 3.5,
        "held": 12,
        "seconds_bucket le=1.0 method=b": 1,
        "seconds_bucket le=10.0 method=b": 2,
        "seconds_bucket le=+Inf method=b": 2,
        "seconds_sum method=b": 3.5,
        "seconds_count method=b": 2,
        "size_sum": 3.5,
        "size_count": 2,
    }


def test_what_only_one_has() -> None:
    """A family or a label that only one process has yet is shown as it is."""
    first, second = registry(3), registry(1)
    Counter("rare_total", "Rare.", registry=second).inc(2)
    found = values(merged([snapshot(first), snapshot(second)]))
    assert 2 == found["rare_total"]
    assert {} == values(merged([]))


@pytest.mark.parametrize(
    ("name", "of_each", "of_all"),
    [
        (CLOSE, (4, 5, 4), 5),
        ("certplane_expired_certificates", (0, 1), 1),
        (LEAST, (700, 500, 600), 500),
        (LEAST, (0, 500), 500),
        (LEAST, (inf, inf), inf),
        (LEAST, (0, 0), 0),
        ("certplane_least_expiry_timestamp_seconds", (0, 1.7e9), 1.7e9),
        ("process_start_time_seconds", (20, 10), 10),
        ("process_max_fds", (1024, 512), 512),
        ("process_resident_memory_bytes", (10, 20), 30),
        ("certplane_xds_streams", (10, 20), 30),
    ],
)
def test_gauges(name: str, of_each: tuple[float, ...], of_all: float) -> None:
    """What each process reads off the same store is not added up: the worst counts, and who has not looked yet does not."""
    assert {name: of_all} == values(merged(gauge(name, value) for value in of_each))


def test_times_of_creation() -> None:
    """A counter of all was created when the first of them was."""
    first, second = snapshot(registry(1)), snapshot(registry(1))
    (created,) = (value for (name, _), value in first["calls"].samples.items() if name == "calls_created")
    assert created == {name: value for (name, _), value in merged([second, first])["calls"].samples.items()}["calls_created"]


def test_what_lasts() -> None:
    """Of a process that has ended counters, histograms and summaries go on counting; gauges do not."""
    assert {"calls", "seconds", "size"} == set(lasting(snapshot(registry(3, 5))))
