"""A command's options as arguments for another run of it."""

from pathlib import Path
from typing import Any

import click
import pytest

from controlplane.cli.command_line import as_arguments
from controlplane.cli.serve import serve
from controlplane.core.admission import ENVOY


def parsed(arguments: list[str], command: click.Command = serve) -> click.Context:
    """What a command line means; the command does not run."""
    return command.make_context("serve", list(arguments))


def options(context: click.Context, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values by name."""
    return {name: value for name, value in context.params.items() if name not in without}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file."""
    path = tmp_path / "certplane.toml"
    path.write_text('[serve]\nlog-level = "debug"\nxds-client = ["spiffe://certplane/edge"]\napi-client = []\nprocesses = 3\n')
    return path


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--xds-client=spiffe://a/b", "--xds-client=*", "--metrics-insecure", "--redis-insecure"],
        ["--expiry-alert=90m", "--max-secrets-per-node=64", "--access-policy=a b.toml", "--xds-address=[::1]:1"],
        ["--api-client="],
        ["--config"],
    ],
)
def test_another_run_has_the_same_options(config: Path, more: list[str]) -> None:
    """Whatever is stated, wherever, the arguments say the same again, without the file."""
    stated = [argument if argument != "--config" else f"--config={config}" for argument in more]
    first = parsed(["--keys-dir=/keys", "--redis-url=redis://127.0.0.1:1", *stated])
    again = parsed(as_arguments(first, ()))
    assert len(options(first)) > 15
    assert options(first) == options(again)


def test_nobody_is_not_the_default(config: Path) -> None:
    """An empty list of clients stays empty: it does not become the default again."""
    first = parsed(["--keys-dir=/keys", "--redis-url=redis://127.0.0.1:1", f"--config={config}"])
    again = parsed(as_arguments(first, ()))
    assert ((), ("spiffe://certplane/edge",)) == (again.params["api_client"], again.params["xds_client"])
    assert (ENVOY,) == parsed(["--keys-dir=/keys", "--redis-url=redis://127.0.0.1:1"]).params["xds_client"]


def test_what_is_left_out() -> None:
    """A secret that is left out is in no argument."""
    first = parsed(["--keys-dir=/keys", "--redis-url=redis://:hunter2@127.0.0.1:1", "--processes=2"])
    arguments = as_arguments(first, ("redis_url", "processes"))
    assert [] == [argument for argument in arguments if "hunter2" in argument or argument.startswith("--processes")]


def test_every_option_of_a_command_is_said_again(config: Path) -> None:
    """Both sides of a switch and options of every type that click has come through."""

    @click.command()
    @click.option("--on/--off", default=True)
    @click.option("--number", type=int)
    @click.option("--rate", type=float, default=0.5)
    @click.option("--path", type=click.Path(path_type=Path), default=config)
    @click.option("--choice", type=click.Choice(["a", "b"]), default="a")
    def command(**_options: object) -> None:
        """Does nothing."""

    for arguments in ([], ["--off", "--number=0", "--rate=1e9", "--choice=b", "--path=/a=b c"]):
        first = parsed(arguments, command)
        assert options(first) == options(parsed(as_arguments(first, ()), command))
