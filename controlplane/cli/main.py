"""The `certplane` command. Sub-commands import what they need when they run, so that `--help` is quick."""

import importlib
import os

import click

from controlplane import __version__
from controlplane.cli.importing import collector_paused

# gRPC's C core writes lines of its own to standard error, where only JSON lines belong; what went wrong is in our errors and logs.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

_COMMANDS = {
    "up": "controlplane.cli.up:up",
    "serve": "controlplane.cli.serve:serve",
    "worker": "controlplane.cli.worker:worker",
    "domains": "controlplane.cli.domains:domains",
    "certificates": "controlplane.cli.certificates:certificates",
    "replacements": "controlplane.cli.replacements:replacements",
    "nodes": "controlplane.cli.nodes:nodes",
    "status": "controlplane.cli.status:status",
    "account": "controlplane.cli.account:account",
    "keys": "controlplane.cli.keys:keys",
    "pki": "controlplane.cli.pki:pki",
    "envoy-bootstrap": "controlplane.cli.envoy_bootstrap:envoy_bootstrap",
    "demo": "controlplane.cli.demo:demo",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the commands in the order of a reader's interest."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Imports and returns one command."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        with collector_paused():
            command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="certplane")
def main() -> None:
    """HTTPS for domains that customers own: ACME certificates, sealed at rest, streamed to Envoy at the handshake."""


if __name__ == "__main__":
    main()
