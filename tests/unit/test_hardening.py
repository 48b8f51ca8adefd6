"""What a process that opens keys leaves behind when it stumbles: no core dump, and no local variable in a traceback."""

import json
import subprocess
import sys

_SECRET = "correct-horse-battery-staple"

_HARDENED = """
import ctypes, resource
from click.testing import CliRunner
from controlplane.cli.main import main
{how}
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""

_STUMBLING = f"""
import asyncio, structlog
from controlplane.app.telemetry import configure_logging
configure_logging("serve", "debug")
def stumble():
    opened = "-".join({_SECRET.split("-")})
    raise RuntimeError("stumbled")
try:
    stumble()
except RuntimeError:
    structlog.get_logger("x").exception("unexpected error")
async def main():
    stumble()
asyncio.run(main())
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program of its own process."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_a_role_forbids_core_dumps() -> None:
    """PR_GET_DUMPABLE is 0 and RLIMIT_CORE has no way back up."""
    how = "from controlplane.app.hardening import forbid_core_dumps\nforbid_core_dumps()"
    assert "0 0 0" == run(_HARDENED.format(how=how)).stdout.strip()


def test_the_commands_about_keys_forbid_core_dumps() -> None:
    """So does every `certplane keys` command, since some of them open what is sealed."""
    how = "CliRunner().invoke(main, ['keys', 'list', '/nowhere'])"
    assert "0 0 0" == run(_HARDENED.format(how=how)).stdout.strip()


def test_tracebacks_have_no_local_variables() -> None:
    """An exception that is logged, or that ends a process, shows where and what, and no value that was at hand."""
    done = run(_STUMBLING)
    first = json.loads(done.stderr.splitlines()[0])
    frames = [frame for each in first["exception"] for frame in each["frames"]]
    assert ("stumbled", "stumble") == (first["exception"][0]["exc_value"], frames[-1]["name"])
    assert "RuntimeError: stumbled" in done.stderr.splitlines()[-1]
    assert _SECRET not in done.stderr
