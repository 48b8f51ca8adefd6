"""What keeps a child process from outliving the process that started it."""

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Has the kernel send SIGKILL to this process when its parent ends, however that happens (prctl(2), PR_SET_PDEATHSIG).

    Does nothing where there is no Linux.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
