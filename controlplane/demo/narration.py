"""What the demonstration tells a person: one line for each thing that happens, with the time since the start."""

import time

import click

from controlplane.api.certplane.v1 import domain_pb2

_STEPS = {
    "preflight": "pre-flight: does the name lead here? A probe is fetched through Envoy, no order is spent",
    "order": "order: the leaf key is made and sealed, the order is placed at the CA",
    "challenge": "challenge: the CA fetches the token through Envoy, which asks Certplane (ext_authz)",
    "finalize": "finalize: the certificate signing request goes to the CA",
    "download": "download: the chain is checked against the names and the key",
}
_STATE = domain_pb2.Domain.State


class Narration:
    """Prints lines with the time since `start`."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._told: set[str] = set()

    def title(self, text: str) -> None:
        """Prints a heading."""
        click.echo("\n" + click.style(text, bold=True))

    def line(self, text: str, *, good: bool = False) -> None:
        """Prints one thing that happened."""
        mark = click.style("✔", fg="green") if good else click.style("•", fg="cyan")
        elapsed = click.style(f"{time.monotonic() - self._start:7.2f} s", dim=True)
        click.echo(f"{elapsed}  {mark} {text}")

    def warning(self, text: str) -> None:
        """Prints something that went wrong."""
        click.echo(" " * 11 + click.style("! ", fg="yellow") + text)

    def command(self, text: str) -> None:
        """Prints a command to try by hand."""
        click.echo("    " + click.style(text, fg="bright_blue"))

    def domain(self, domain: domain_pb2.Domain) -> bool:
        """Tells what is new about a domain; returns whether a certificate is in force."""
        state = _STATE.Name(domain.state).removeprefix("STATE_")
        if state == "PENDING" and self._new("PENDING"):
            self.line("PENDING: the domain is onboarded, nothing to serve yet")
        if domain.current_step and self._new(domain.current_step):
            self.line(_STEPS.get(domain.current_step, domain.current_step))
        if domain.HasField("last_error") and self._new(domain.last_error.detail):
            self.warning(f"{domain.last_error.detail} (next attempt at {domain.next_attempt_time.ToJsonString()})")
        if state in {"ACTIVE", "DEGRADED"} and self._new(domain.serial_number):
            self.line(
                f"{state}: certificate {domain.serial_number} is stored, its leaf key sealed; renewal planned for"
                f" {domain.renew_time.ToJsonString()}",
                good=True,
            )
        return state in {"ACTIVE", "DEGRADED"}

    def _new(self, what: str) -> bool:
        new = what not in self._told
        self._told.add(what)
        return new
