"""How a role's process begins and ends: signals, the `ready` line, the event loop."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog
import uvloop

from controlplane.app.allocator import keep_memory_small
from controlplane.app.hardening import forbid_core_dumps
from controlplane.app.telemetry import configure_logging
from controlplane.core.errors import ConfigurationError
from controlplane.core.exposure import parse_listener

_log = structlog.get_logger(__name__)

READY = "ready"


def run_role(role: str, log_level: str, main: Callable[[asyncio.Event], Awaitable[None]], process: int = 0) -> None:
    """Runs `main` until it returns; SIGTERM and SIGINT set the event that it is given.

    `process`: the number of this one among several of the role.

    Raises:
        ConfigurationError: the process cannot start as configured.
    """
    configure_logging(role, log_level, process)
    forbid_core_dumps()
    keep_memory_small()
    # What is imported stays, and the collector need not look at it again: a full collection pauses 20 ms less, an end takes 0.1 s less.
    gc.freeze()
    # A third less CPU for everything that waits for sockets, measured on the onboarding of a domain.
    uvloop.run(_until_stopped(main))


async def _until_stopped(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)
    _log.info("stopped")


def announce_ready(**addresses: str) -> None:
    """Prints the one line on standard output that says every listener answers."""
    print(" ".join([READY, *(f"{name}={address}" for name, address in addresses.items())]))  # noqa: T201 - a contract
    sys.stdout.flush()


def check_metrics_address(address: str, insecure: bool) -> None:
    """Checks that plain HTTP for metrics stays on this machine, unless the operator wants it otherwise.

    Raises:
        ConfigurationError: it does not.
    """
    if not insecure and not parse_listener(address).local:
        raise ConfigurationError(
            f"--metrics-address {address} is plain HTTP beyond this machine; it holds no secret and no name: allow it with"
            " --metrics-insecure, or use a loopback address"
        )
