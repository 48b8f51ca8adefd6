"""What a process that opens keys does first: no core dump may hold them."""

import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Sets RLIMIT_CORE to 0, and PR_SET_DUMPABLE to 0 where Linux has it (prctl(2)).

    Other processes of the same user then cannot read the memory either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
