"""Child processes: they end with their parent and explain themselves."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from controlplane.core.errors import ConfigurationError
from controlplane.embedded.child_process import ChildFailed, ChildProcess
from controlplane.embedded.pebble import Pebble

DEADLINE = 10.0


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """A parent that dies by SIGKILL, and so cannot tidy up, takes its child with it."""
    script = (
        "import asyncio, pathlib, sys\n"
        "from controlplane.embedded.child_process import ChildProcess\n"
        "async def main():\n"
        "    child = await ChildProcess.start(['/bin/sleep', '1000'], pathlib.Path(sys.argv[1]))\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(1000)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    async with asyncio.timeout(DEADLINE):
        child = int(await parent.stdout.readline())
        while b"sleep" not in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0]:
            await asyncio.sleep(0.01)
        parent.send_signal(signal.SIGKILL)
        await parent.wait()
        while not gone(child):
            await asyncio.sleep(0.01)


async def test_a_failure_quotes_the_log(tmp_path: Path) -> None:
    """A child that ends before it is ready is reported with its status and the last lines that it wrote."""
    child = await ChildProcess.start(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"], tmp_path / "log", name="thing")

    async def never() -> bool:
        return False

    with pytest.raises(ChildFailed) as caught:
        await child.wait_until_ready(never, DEADLINE)
    assert "thing ended with status 3 before it was ready\n  | out\n  | err" == str(caught.value)


async def test_a_deadline_ends_the_wait(tmp_path: Path) -> None:
    """A child that never becomes ready is reported after the deadline; errors of the question count as "not yet"."""
    async with await ChildProcess.start(["/bin/sleep", "1000"], tmp_path / "log") as child:

        async def refused() -> bool:
            raise ConnectionRefusedError

        with pytest.raises(ChildFailed, match=r"was not ready after 0\.05 seconds"):
            await child.wait_until_ready(refused, 0.05)


async def test_a_deaf_child_is_killed(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is killed after the grace."""
    child = await ChildProcess.start(
        ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"], tmp_path / "log", {"PATH": os.environ["PATH"]}
    )

    async def deaf() -> bool:
        return "deaf" in child.log_path.read_text()

    await child.wait_until_ready(deaf, DEADLINE)
    assert -signal.SIGKILL == await child.terminate(grace=0.1)
    assert -signal.SIGKILL == await child.terminate()


async def test_a_program_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """A missing program is an error before anything is started."""
    with pytest.raises(ChildFailed, match="/no/such/program is not an executable file"):
        await ChildProcess.start(["/no/such/program"], tmp_path / "log")


async def test_missing_pebble_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the programs the error names the package to install and the setting that names another CA."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError) as caught:
        await Pebble(tmp_path).start()
    assert "apt-get install pebble" in str(caught.value)
    assert "CERTPLANE_ACME_DIRECTORY" in str(caught.value)


async def test_pebble_tells_its_root_and_takes_dns_answers(tmp_path: Path) -> None:
    """A running Pebble gives its root certificate, and its DNS server takes every kind of record; both end with the block."""
    async with Pebble(tmp_path) as pebble:
        assert (await pebble.roots()).startswith(b"-----BEGIN CERTIFICATE-----")
        await pebble.set_default_ipv4("127.0.0.9")
        await pebble.set_default_ipv6("::9")
        for change in (pebble.add_a, pebble.add_aaaa):
            await change("a.example.com", "127.0.0.2" if change == pebble.add_a else "::2")
        await pebble.add_caa("a.example.com", ("issue", "ca.example"))
        await pebble.set_servfail("b.example.com")
        for clear in (pebble.clear_a, pebble.clear_aaaa, pebble.clear_caa):
            await clear("a.example.com")
        await pebble.clear_servfail("b.example.com")
        assert pebble.process is not None
        pid = pebble.process.pid
    assert gone(pid)
