"""`certplane nodes`, and `certplane envoy-bootstrap --prefetch-from`, against a running API."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import click
import pytest
import structlog
import yaml
from click.testing import CliRunner, Result

from controlplane.cli.envoy_bootstrap import envoy_bootstrap
from controlplane.cli.nodes import nodes
from tests.fakes.nodes import RunningFleet, running_fleet

Run = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def fleet() -> AsyncIterator[RunningFleet]:
    """The API with nothing in it; its log goes nowhere."""
    with structlog.testing.capture_logs():
        async with running_fleet() as running:
            yield running


def runner(fleet: RunningFleet, command: click.Command, *always: str) -> Run:
    """Runs a command in a thread beside the server's loop; fails when it shows a traceback or raises something of its own."""

    async def run(*arguments: str) -> Result:
        environment = {"CERTPLANE_API_ADDRESS": fleet.address}
        result = await asyncio.to_thread(CliRunner().invoke, command, [*always, *arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def run(fleet: RunningFleet) -> Run:
    """Runs `certplane nodes`."""
    return runner(fleet, nodes)


@pytest.fixture
def bootstrap(fleet: RunningFleet) -> Run:
    """Runs `certplane envoy-bootstrap`."""
    return runner(fleet, envoy_bootstrap, "--upstream", "127.0.0.1:9000")


def prefetched(result: Result) -> list[str]:
    """The names that the configuration prefetches; they must be those that it pins too."""
    assert result.exit_code == 0, result.output
    config = yaml.safe_load(result.stdout)
    (selector,) = [
        chain["transport_socket"]["typed_config"]["common_tls_context"]["custom_tls_certificate_selector"]["typed_config"]
        for listener in config["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        if "transport_socket" in chain
    ]
    names = selector.get("prefetch_secret_names", [])
    assert names == config["node"]["metadata"].get("certplane.pinned", [])
    return names


async def test_list(fleet: RunningFleet, run: Run) -> None:
    """Nodes are a table, one a line, in the order of their ids."""
    fleet.here.connect("edge-2", "a", "b", acks=4, nacks=1, refused={"b": ("v", "e")})
    fleet.there.registry.disconnected(fleet.there.connect("edge-1", "a", cluster="west"))
    await fleet.there.snapshots.beat()
    lines = (await run("list", "--page-size", "1")).stdout.splitlines()
    assert ["NODE", "CONNECTED", "LAST", "SEEN", "CLUSTER", "SECRETS", "ACKS", "NACKS", "REFUSED"] == lines[0].split()
    assert ["edge-1", "no", "2026-11-24", "12:00:00", "UTC", "west", "1", "0", "0", "0"] == lines[1].split()
    assert ["edge-2", "yes", "2026-11-24", "12:00:00", "UTC", "edge", "2", "4", "1", "1"] == lines[2].split()
    assert lines[1].index("no") == lines[2].index("yes") == lines[0].index("CONNECTED")


async def test_empty_list(run: Run) -> None:
    """No nodes is a line on standard error, and nothing on standard output."""
    result = await run("list")
    assert (0, "", "no nodes\n") == (result.exit_code, result.stdout, result.stderr)
    assert {"nodes": []} == json.loads((await run("list", "--output", "json")).stdout)


async def test_get(fleet: RunningFleet, run: Run) -> None:
    """A node is shown in words, one aligned line a property, by its id or its name."""
    fleet.here.connect("edge-1", "a", identities=("spiffe://certplane/envoy",), refused={"b": ("v7", "no \x1b[2Jkey")})
    result = await run("get", "edge-1")
    lines = result.stdout.splitlines()
    shown = {key: value.strip() for key, value in (line.strip().split("  ", 1) for line in lines[1:])}
    assert "edge-1" == lines[0]
    assert {
        "connected": "yes, since 2026-11-24 12:00:00 UTC",
        "last seen": "2026-11-24 12:00:00 UTC",
        "cluster": "edge",
        "identities": "spiffe://certplane/envoy",
        "replicas": "here",
        "variants": "delta_ads",
        "secrets held": "1",
        "answers": "0 accepted, 0 refused",
        "refused": "b in version v7: no \N{REPLACEMENT CHARACTER}[2Jkey",
    } == shown
    assert result.stdout == (await run("get", "nodes/edge-1")).stdout


async def test_get_shows_every_stream_of_a_node_with_several(fleet: RunningFleet, run: Run) -> None:
    """Envoys that carry the same id are told apart by their streams."""
    fleet.here.connect("spiffe://edge/1", "a", acks=1)
    fleet.here.connect("spiffe://edge/1", "b", "c", variant="sotw_sds")
    lines = [line for line in (await run("get", "spiffe://edge/1")).stdout.splitlines() if line.strip().startswith("stream ")]
    assert [
        "delta_ads to here since 2026-11-24 12:00:00 UTC: 1 secrets, 1 accepted, 0 refused",
        "sotw_sds to here since 2026-11-24 12:00:00 UTC: 2 secrets, 0 accepted, 0 refused",
    ] == [line.strip().split("  ", 1)[1].strip() for line in lines]


async def test_json(fleet: RunningFleet, run: Run) -> None:
    """`--output json` is the API's JSON, wherever the option stands."""
    fleet.here.connect("edge-1", "a.example")
    got = json.loads((await run("get", "edge-1", "--output", "json")).stdout)
    assert ("nodes/edge-1", True, 1) == (got["name"], got["connected"], got["secretsHeld"])
    assert {"nodes": [got]} == json.loads((await run("--output", "json", "list")).stdout)
    expected = {"secrets": [{"name": "nodes/edge-1/secrets/a.example", "secret": "a.example"}]}
    assert expected == json.loads((await run("secrets", "edge-1", "--output", "json")).stdout)


async def test_secrets(fleet: RunningFleet, run: Run) -> None:
    """The names of a node are one a line, the busiest first, over all pages or as many as are asked for."""
    names = [f"n{index}.example" for index in range(1_203)]
    fleet.here.connect("edge-1", *names)
    assert names == (await run("secrets", "edge-1")).stdout.split()
    assert names[:1_100] == (await run("secrets", "edge-1", "--count", "1100")).stdout.split()


async def test_unknown_node(run: Run) -> None:
    """A node that nobody saw is an error."""
    result = await run("get", "edge-1")
    assert (1, "", "Error: NOT_FOUND: nodes/edge-1 does not exist\n") == (result.exit_code, result.stdout, result.stderr)


async def test_prefetch_from_a_node(fleet: RunningFleet, bootstrap: Run) -> None:
    """The busiest names of a node go into the selector and into the node's metadata, as many as are asked for."""
    fleet.here.connect("edge-1", "b.example", "a.example", "c.example")
    assert ["b.example", "a.example", "c.example"] == prefetched(await bootstrap("--prefetch-from", "edge-1"))
    assert ["b.example", "a.example"] == prefetched(await bootstrap("--prefetch-from", "nodes/edge-1", "--prefetch-count", "2"))


async def test_stated_names_come_before_those_of_a_node(fleet: RunningFleet, bootstrap: Run) -> None:
    """`--prefetch` and `--prefetch-from` add up, each name once."""
    fleet.here.connect("edge-1", "b.example", "a.example")
    result = await bootstrap("--prefetch", "x.example", "--prefetch", "a.example", "--prefetch-from", "edge-1")
    assert ["x.example", "a.example", "b.example"] == prefetched(result)


async def test_ten_thousand_names_are_prefetched(fleet: RunningFleet, bootstrap: Run) -> None:
    """As many names as are remembered can be prefetched."""
    names = [f"n{index}.example" for index in range(10_000)]
    fleet.here.connect("edge-1", *names)
    assert names == prefetched(await bootstrap("--prefetch-from", "edge-1", "--prefetch-count", "10000"))


async def test_prefetch_from_an_unknown_node(bootstrap: Run) -> None:
    """A node that nobody saw is an error that says where to look, and no configuration is printed."""
    result = await bootstrap("--prefetch-from", "edge-9")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "no node 'edge-9' was seen in the last week: `certplane nodes list`" in result.stderr


async def test_prefetch_from_a_node_that_held_nothing(fleet: RunningFleet, bootstrap: Run) -> None:
    """A node without names gives a configuration without a prefetch, and says so."""
    fleet.here.connect("edge-1")
    result = await bootstrap("--prefetch-from", "edge-1")
    assert [] == prefetched(result)
    assert "the node 'edge-1' held no names" in result.stderr


async def test_names_that_envoy_could_not_ask_for_are_left_out(fleet: RunningFleet, bootstrap: Run) -> None:
    """One odd name among those of a node does not cost the configuration."""
    fleet.store.remembered_names["edge-1"] = (b"-odd.example", b"a.example")
    fleet.here.connect("edge-1")
    assert ["a.example"] == prefetched(await bootstrap("--prefetch-from", "edge-1"))


async def test_api_that_does_not_answer(fleet: RunningFleet, bootstrap: Run) -> None:
    """Without the API there is no configuration, and the error says what was tried."""
    fleet.store.away = True
    result = await bootstrap("--prefetch-from", "edge-1")
    assert (1, "") == (result.exit_code, result.stdout)
    assert result.stderr.startswith("Error: UNAVAILABLE")
    result = await bootstrap("--prefetch-from", "edge-1", "--api-address", "127.0.0.1:1")
    assert (1, "") == (result.exit_code, result.stdout)
    assert "no answer from the API at 127.0.0.1:1" in result.stderr


async def test_without_prefetch_from_nobody_is_asked(fleet: RunningFleet, bootstrap: Run) -> None:
    """Stated names need no API."""
    assert ["a.example"] == prefetched(await bootstrap("--prefetch", "a.example", "--api-address", "127.0.0.1:1"))
    assert {} == fleet.store.calls
