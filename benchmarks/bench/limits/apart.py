"""`limits` in a process of its own.

Profiling loads and runs the networks: should an engine crash there, or run out of memory, what was
measured before is not lost. `python -m benchmarks.bench.limits.apart` answers one request, JSON on
its standard input, with JSON on its standard output.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from benchmarks.bench.client import environment, module_command, signal_name
from benchmarks.bench.limits.roofline import limits
from benchmarks.bench.results import ComponentLimit, Peaks, Settings, Stage
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError


class LimitError(LatedgeError):
    """The limits of a bundle could not be found."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `limits`."""

    bundle: str
    settings: Settings
    stages: dict[str, Stage]
    peaks: Peaks | None
    device: str
    threads: int | None
    profile: bool


def limits_apart(request: Request) -> tuple[ComponentLimit, ...]:
    """Asks a new process.

    Raises:
        LimitError: it failed or crashed; says how.
    """
    done = subprocess.run(
        module_command("benchmarks.bench.limits.apart"),
        input=msgspec.json.encode(request),
        capture_output=True,
        check=False,
        env=environment(),
    )
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=tuple[ComponentLimit, ...])
    if done.returncode < 0:
        ended = f"the process was ended by {signal_name(-done.returncode)}"
        raise LimitError(f"while operations were counted and profiled, {ended}.")
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    raise LimitError(lines[-1] if lines else f"exit status {done.returncode}")


def answer(request: Request) -> tuple[ComponentLimit, ...]:
    """What the process does."""
    return limits(
        open_bundle(Path(request.bundle)),
        request.settings,
        request.stages,
        request.peaks,
        device=request.device,
        threads=request.threads,
        profile=request.profile,
    )


def main() -> int:
    """Answers one request; what the engines print goes to standard error."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    try:
        found = answer(request)
    except LatedgeError as e:
        print(e, file=sys.stderr)
        return 1
    output.write(msgspec.json.encode(found))
    output.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
