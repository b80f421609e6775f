"""`python -m benchmarks.known_memory`: the memory sampler on programs whose memory is known.

Each program holds a known number of bytes beyond what its interpreter needs, which is measured
before; what the sampler finds beyond that is compared with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench.memory import MemorySampler
from benchmarks.command_line import run_command
from runtimes.errors import LatedgeError

TOLERANCE = 0.02
"""Of the known size: what the interpreter and the C library take beside it, 0.3 MB of 64, and the
kernel's counters, which it sums up from per-processor parts of up to 64 pages."""
MB = 2**20

PROGRAM = """
import mmap, subprocess, sys, time
kept, child = [], None
def fill(area):
    for start in range(0, len(area), 2**20):
        area[start : start + 2**20] = b"x" * min(2**20, len(area) - start)
def touch(area):
    for start in range(0, len(area), 4096):
        area[start]
for line in sys.stdin:
    verb, *given = line.rstrip("\\n").split("\\t")
    if verb == "spike":
        area = mmap.mmap(-1, int(given[0]))
        fill(area)
        time.sleep(float(given[1]) / 1e3)
        area.close()
    elif verb == "keep":
        kept.append(mmap.mmap(-1, int(given[0])))
        fill(kept[-1])
    elif verb == "map":
        with open(given[0], "rb") as file:
            kept.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        touch(kept[-1])
    elif verb == "child":
        pipe = subprocess.PIPE
        child = subprocess.Popen(sys.orig_argv, stdin=pipe, stdout=pipe, text=True)
    elif verb == "tell":
        print(*given, sep="\\t", file=child.stdin, flush=True)
        child.stdout.readline()
    print("done", flush=True)
"""
"""A program that takes commands, a line each, and answers when one is carried out."""


class Program:
    """The program, running; leaving the context ends it, and with it its child's input."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", PROGRAM]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def tell(self, *words: object) -> None:
        """Gives a command and waits until it is carried out.

        Raises:
            LatedgeError: the program ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise LatedgeError(f"the program that was measured ended at {words[0]!r}.")

    def __enter__(self) -> Program:
        self.tell("ready")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True)
class Finding:
    """What the sampler found of one kind of program.

    Attributes:
        name: of the kind.
        expected: bytes.
        measured: bytes, a trial each.
    """

    name: str
    expected: int
    measured: tuple[int, ...]

    @property
    def deviation(self) -> float:
        """Of the worst trial, as a share of what was expected."""
        shares = [found / self.expected - 1 for found in self.measured]
        return max(shares, key=abs)


@contextmanager
def sampled(program: Program) -> Generator[MemorySampler]:
    """Samples a program; the sampler's figures are there until the context is left."""
    sampler = MemorySampler(program.pid)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


def spike(size: int, ms: float, trials: int) -> Finding:
    """A process holds `size` bytes for `ms` milliseconds, `trials` times."""
    with Program() as program, sampled(program) as sampler:
        program.tell("spike", size, 0)  # what the interpreter itself takes for it stays

        def once() -> int:
            sampler.mark("before")
            before = sampler.peak_since_mark
            sampler.mark("spike")
            program.tell("spike", size, ms)
            return sampler.peak_since_mark - before

        return Finding(f"held for {ms:g} ms", size, tuple(once() for _ in range(trials)))


def child(size: int) -> Finding:
    """A process and its child hold `size` bytes each; the child's interpreter is not counted."""
    with Program() as program, sampled(program) as sampler:
        program.tell("child")
        for command in (("spike", 4 * MB, 0), ("tell", "spike", 4 * MB, 0)):
            program.tell(*command)  # what the interpreters themselves take for it stays
        sampler.mark("before")
        before = sampler.peak_since_mark
        program.tell("keep", size)
        program.tell("tell", "keep", size)
        return Finding("in a process and its child", 2 * size, (sampler.peak_since_mark - before,))


def shared(size: int, folder: Path) -> tuple[Finding, Finding]:
    """Two processes map the same file of `size` bytes: RSS and PSS of one of them."""
    path = folder / "mapped"
    path.write_bytes(b"x" * size)
    with Program() as first, Program() as second:
        before_rss, before_pss = _both(first)
        first.tell("map", path)
        second.tell("map", path)
        rss, pss = _both(first)
    return (
        Finding("file mapped twice, RSS of one", size, (rss - before_rss,)),
        Finding("file mapped twice, PSS of one", size // 2, (pss - before_pss,)),
    )


def _both(program: Program) -> tuple[int, int]:
    sampler = MemorySampler(program.pid)
    sampler.start()
    memory = sampler.stop()
    if memory.peak_pss is None:
        raise LatedgeError("this system tells no proportional set size, or not to this user.")
    return memory.peak_rss, memory.peak_pss


def main(
    megabytes: Annotated[int, typer.Option(min=1, help="Of each program, 2^20 bytes each.")] = 64,
    trials: Annotated[int, typer.Option(min=1, help="Of each short peak.")] = 20,
) -> None:
    """Prints expected and measured memory of each program; exit 1 where one is off by over 2 %."""
    size = megabytes * MB
    with tempfile.TemporaryDirectory() as folder:
        findings = [spike(size, 100, trials), spike(size, 1, trials), child(size)]
        findings += shared(size, Path(folder))
    report(findings, print)
    wrong = [f.name for f in findings if abs(f.deviation) > TOLERANCE]
    if wrong:
        raise LatedgeError(f"off by more than {TOLERANCE:.0%}: {'; '.join(wrong)}.")


def report(findings: list[Finding], write: Callable[[str], object]) -> None:
    """Writes the table: MB of 2^20 bytes, the least and the most of the trials."""
    write(f"{'MB':32}{'trials':>7}{'expected':>10}{'least':>9}{'most':>9}{'deviation':>11}")
    for finding in findings:
        figures = (finding.expected, min(finding.measured), max(finding.measured))
        expected, least, most = (value / MB for value in figures)
        write(
            f"{finding.name:32}{len(finding.measured):7}{expected:10.2f}{least:9.2f}{most:9.2f}"
            f"{finding.deviation:11.2%}"
        )


if __name__ == "__main__":
    # Without arguments a benchmark shows its help; this one has nothing that must be said.
    arguments = sys.argv[1:] or ["--trials", "20"]
    raise SystemExit(run_command(main, "python -m benchmarks.known_memory", arguments))
