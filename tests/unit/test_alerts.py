"""deploy/prometheus and deploy/grafana: only metrics, labels and values that the code has, and alerts that the manual explains."""

import importlib
import itertools
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import controlplane

ROOT = Path(__file__).resolve().parents[2]
RULES = ROOT / "deploy/prometheus/alerts.yml"
DASHBOARD = ROOT / "deploy/grafana/certplane.json"
SCRAPE = ROOT / "deploy/prometheus/prometheus.yml"
MANUAL = ROOT / "docs/operating.md"

OF_PROMETHEUS: Mapping[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
OF_EVERY_TARGET = {"job", "instance"}
FUNCTIONS = {"sum", "max", "min", "rate", "increase", "absent", "clamp_min", "vector", "histogram_quantile"}
WORDS = {"by", "or", "and", "unless", "offset"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
DURATION = r"(?:\d+(?:ms|[smhdwy]))+"

CODE = "".join(path.read_text() for path in (ROOT / "controlplane").rglob("*.py"))

rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
dashboard = json.loads(DASHBOARD.read_text())
panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every query, with what it belongs to."""
    for rule in rules:
        yield rule["alert"], rule["expr"]
    for panel in panels:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


every_expression = pytest.mark.parametrize("expression", [pytest.param(expr, id=f"{of}-{n}") for n, (of, expr) in enumerate(expressions())])


@pytest.fixture(scope="module")
def registered() -> dict[str, set[str]]:
    """The labels of every series that any process exposes, by its name."""
    for module in pkgutil.walk_packages(controlplane.__path__, "controlplane."):
        importlib.import_module(module.name)
    found = dict(OF_PROMETHEUS)
    for collector in REGISTRY._collector_to_names:
        for family in collector.collect():
            labels = set(getattr(collector, "_labelnames", ())) | ({"le"} if family.type == "histogram" else set())
            found |= {family.name + suffix: labels for suffix in SUFFIXES.get(family.type, ("",))}
    return found


def without_matchers(expression: str) -> str:
    """The expression with nothing in its braces, without label lists and durations."""
    plain = re.sub(r"\{[^}]*\}", "", expression)
    plain = re.sub(r"\bby\s*\([^)]*\)", "", plain)
    return re.sub(rf"\[{DURATION}\]|\boffset\s+{DURATION}", "", plain)


def series(expression: str) -> set[str]:
    """The names of series in an expression."""
    return set(re.findall(r"[A-Za-z_:][A-Za-z0-9_:]*", without_matchers(expression))) - FUNCTIONS - WORDS


def matchers(expression: str) -> Iterator[tuple[str, str, str]]:
    """Series, label and value of every matcher."""
    for name, inside in re.findall(r"([A-Za-z_:]+)\{([^}]*)\}", expression):
        found = re.findall(r"([a-z_]+)(?:=|!=|=~|!~)\"([^\"]*)\"", inside)
        assert inside.count("=") == len(found), inside
        yield from ((name, label, value) for label, value in found)


@every_expression
def test_metrics_exist(expression: str, registered: dict[str, set[str]]) -> None:
    """Whatever is asked for is registered by some module."""
    assert series(expression)
    assert set() == series(expression) - registered.keys()


@every_expression
def test_labels_exist(expression: str, registered: dict[str, set[str]]) -> None:
    """Labels that are matched are the metric's, and so are those that are grouped by."""
    for name, label, _ in matchers(expression):
        assert label in registered[name] | OF_EVERY_TARGET, name
    had = OF_EVERY_TARGET.union(*(registered[name] for name in series(expression)))
    for grouped in re.findall(r"\bby\s*\(([^)]*)\)", expression):
        assert set() == {label.strip() for label in grouped.split(",")} - had


@every_expression
def test_values_exist(expression: str) -> None:
    """Every value of a label that is looked for is one that the code gives, or a job that is scraped."""
    jobs = {job["job_name"] for job in yaml.safe_load(SCRAPE.read_text())["scrape_configs"]}
    for name, label, value in matchers(expression):
        if name == "ALERTS" or value == "OK":
            continue
        for each in value.split("|"):
            assert each in jobs if label == "job" else f'"{each}"' in CODE, each


@every_expression
def test_counters_are_read_as_counters(expression: str) -> None:
    """What only grows is asked for its growth, and nothing else is; a series that appears has grown too."""
    text = re.sub(r"\{[^}]*\}", "", expression)
    grown = re.findall(r"\b(?:rate|increase)\(([A-Za-z_]+)\[", text)
    assert all(name.endswith(("_total", "_bucket")) for name in grown)
    text = re.sub(r"([a-z_]+_total) unless \1 offset", "", text)
    assert len(re.findall(r"[a-z_]+_(?:total|bucket)\b", text)) == len(grown)


@every_expression
def test_parentheses_match(expression: str) -> None:
    """Every parenthesis is closed, and every function that is called is one of PromQL's."""
    depth = list(itertools.accumulate({"(": 1, ")": -1}.get(character, 0) for character in expression))
    assert (0, True) == (depth[-1], min(depth) >= 0)
    assert set(re.findall(r"\b([a-z_]+)\s*\(", expression)) <= FUNCTIONS | {"by", "or", "and", "unless"}


@pytest.mark.parametrize("rule", rules, ids=[rule["alert"] for rule in rules])
def test_alert_says_what_it_is(rule: Mapping[str, Any]) -> None:
    """It is worth waking somebody or it is not, and says in two sentences what is the matter."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description"} == rule["annotations"].keys()
    assert all(text and "\n" not in text for text in rule["annotations"].values())
    assert re.fullmatch(DURATION, rule.get("for", "1m"))
    assert {"alert", "expr", "for", "labels", "annotations"} >= rule.keys()


def test_manual_explains_every_alert() -> None:
    """docs/operating.md has each once, as severe as it is, and no other."""
    explained = re.findall(r"^\| `(Certplane\w+)` \| (page|ticket) \|", MANUAL.read_text(), re.MULTILINE)
    assert sorted((rule["alert"], rule["labels"]["severity"]) for rule in rules) == sorted(explained)


def test_manual_names_no_metric_that_is_not() -> None:
    """What operators are told to watch is there, under that name."""
    text = MANUAL.read_text()
    known = set(re.findall(r'"(certplane_[a-z_]+)"', CODE))
    named = set(re.findall(r"`(certplane_[a-z_]+)(?:\{[a-z,]+\})?`", text))
    assert set() == {name for name in named if name not in known}


def test_panels_stand_beside_each_other() -> None:
    """No panel covers another, and each asks the source that is chosen at the top."""
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    variables = {f"${{{variable['name']}}}" for variable in dashboard["templating"]["list"]}
    assert variables == {panel["datasource"]["uid"] for panel in panels}


def test_scrape_configuration_has_the_rules() -> None:
    """The example of a configuration reads the rules that lie beside it."""
    assert [RULES.name] == yaml.safe_load(SCRAPE.read_text())["rule_files"]
