"""`python -m exporter.coreml.worker`: converts one component in a process of its own.

It reads a `Job` from its standard input and writes a `Told` to its standard output. A process of
its own gives back all its memory, and how much it took at most is this component's alone.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stdout

import msgspec

from exporter.coreml.job import Job, make
from exporter.errors import CompileError, StoppedError
from exporter.memory import MemoryLimitError, limited
from exporter.phases import CAPTURE, begin, work_on
from runtimes.errors import LatedgeError
from runtimes.manifest import Component
from runtimes.process_memory import peak_rss_bytes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a job.

    Attributes:
        entry: the component's in the manifest; None where it failed.
        error: why, in one line.
        over_limit: whether that was the memory.
        peak_rss: bytes that the process took at most; None where the system doesn't tell.
    """

    entry: Component | None = None
    error: str | None = None
    over_limit: bool = False
    peak_rss: int | None = None


class WorkerLimitError(StoppedError, MemoryLimitError):
    """A conversion takes more memory than it may; other components' are as they were."""


def convert(job: Job) -> tuple[Component, int | None]:
    """Does a job in a process of its own.

    Returns:
        The component's entry, and the most memory that the process took, in bytes.

    Raises:
        CompileError: the component can't be converted, or the process failed.
        StoppedError: the process was killed, or takes more memory than it may, which is a
            MemoryLimitError.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "exporter.coreml.worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    ) as process:
        try:
            answer, complaints = process.communicate(msgspec.json.encode(job))
        except BaseException:
            process.kill()
            process.wait()  # `with` doesn't after Ctrl-C, and the folder may go before the process
            raise
    if process.returncode < 0:
        raise StoppedError(
            f"{job.component}: its conversion was killed by signal {-process.returncode}; is there "
            "too little memory?"
        )
    if process.returncode:
        last = complaints.decode(errors="replace").strip().splitlines()[-1:]
        raise CompileError(
            f"{job.component}: its conversion ended with code {process.returncode}: "
            f"{''.join(last) or 'it told nothing'}."
        )
    told = msgspec.json.decode(answer, type=Told)
    if told.entry is None:
        kind = WorkerLimitError if told.over_limit else CompileError
        raise kind(told.error)
    return told.entry, told.peak_rss


def main() -> None:
    """Reads a job and tells what became of it."""
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    # What coremltools and torch print of themselves helps no user.
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    with redirect_stdout(sys.stderr):
        told = _done(job)
    sys.stdout.buffer.write(msgspec.json.encode(told))


def _done(job: Job) -> Told:
    try:
        with work_on(job.component), limited(job.max_memory):
            begin(CAPTURE)
            entry = make(job)
    except LatedgeError as e:
        return Told(error=str(e), over_limit=isinstance(e, MemoryLimitError))
    return Told(entry=entry, peak_rss=peak_rss_bytes())


if __name__ == "__main__":
    main()
