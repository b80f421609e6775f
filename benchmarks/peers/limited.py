"""`… limited SECONDS MODULE ARGUMENTS`: runs a module for so long at most, in the same process.

The alarm outlives the exec, and nobody handles it: the kernel ends the process, wherever it is.
"""

from __future__ import annotations

import os
import signal
import sys

ENDED = "its process was ended by SIGALRM"
"""How a worker's end reads when its time is up."""


def main() -> None:
    """Sets the alarm and becomes the module."""
    seconds, *module = sys.argv[1:]
    signal.setitimer(signal.ITIMER_REAL, float(seconds))
    os.execv(sys.executable, [sys.executable, "-m", *module])


def explain(error: str, seconds: float) -> str:
    """An error in which the alarm is called by its name."""
    return error.replace(ENDED, f"it took longer than {seconds:g} s (--timeout)")


if __name__ == "__main__":
    main()
