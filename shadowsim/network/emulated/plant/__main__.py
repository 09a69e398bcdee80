"""Messages on an inherited socket to packets that move, for as long as who started it lives.

The arguments are the number of the socket and the process that started this one.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1


def end_with(parent: int) -> None:
    """End this process when its parent has ended, or now if that was so already."""

    def look(_signal: int, _frame: FrameType | None) -> None:
        # The kernel also sends this when just the thread that started us has ended.
        if os.getppid() != parent:
            os._exit(0)

    signal.signal(signal.SIGUSR1, look)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1, 0, 0, 0)
    look(0, None)


if __name__ == "__main__":
    end_with(int(sys.argv[2]))  # before the kernels are loaded, which takes seconds
    from shadowsim.network.emulated.plant.process import serve

    serve(int(sys.argv[1]))
