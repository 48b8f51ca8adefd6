"""Starts an Envoy without waiting for it: how long it takes is what is measured."""

import time
from pathlib import Path

from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.envoy import envoy_binary


async def start_envoy_process(config: str, directory: Path) -> tuple[float, ChildProcess]:
    """Returns the moment (`time.perf_counter`) before the start, and the process. One worker thread, as all proxies have here."""
    config_path = directory / "envoy.json"
    config_path.write_text(config, encoding="utf-8")
    options = ("--disable-hot-restart", "--concurrency", "1", "--log-level", "error")
    begun = time.perf_counter()
    argv = [str(envoy_binary()), "--config-path", str(config_path), *options]
    return begun, await ChildProcess.start(argv, directory / "envoy.log", name="envoy")
