"""Programs of Debian's packages, which only the benchmark needs and which are not installed for it."""

import os
import shutil


def program(name: str) -> str | None:
    """Returns the absolute path of a program; Debian keeps servers where PATH often does not look."""
    return shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


def missing(name: str) -> str | None:
    """Returns how to get a program, or None when it is there. RUNLEVEL keeps the package from starting it on the machine's own ports."""
    if program(name):
        return None
    return f"{name} is missing: sudo RUNLEVEL=1 apt-get install --no-install-recommends {name}"
