"""`python -m benchmarks.import_time`: what `import latedge` takes beyond numpy's own import."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

STATEMENTS = ("import numpy", "import numpy, latedge", "import numpy; from latedge import Pipeline")
"""The first is the floor that the others are compared with."""

TIMED = """
import time
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1e3)
"""


def import_ms(statement: str) -> float:
    """Milliseconds that a statement takes in a fresh interpreter, the interpreter's start aside."""
    command = [sys.executable, "-c", TIMED.format(statement=statement)]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def measure(statements: Sequence[str], runs: int) -> dict[str, list[float]]:
    """Times each statement `runs` times.

    The statements take turns, so that a slow spell of the machine falls on all of them. A first
    turn, which fills the disk cache and writes bytecode, is not counted.
    """
    turns = [[import_ms(statement) for statement in statements] for _ in range(runs + 1)]
    return dict(zip(statements, map(list, zip(*turns[1:], strict=True)), strict=True))


def main(
    runs: Annotated[int, typer.Option(min=1, help="Times that each statement is run.")] = 20,
) -> None:
    """Prints minimum and median of each statement, and their differences from numpy alone."""
    times = measure(STATEMENTS, runs)
    floor = times[STATEMENTS[0]]
    print(f"{'ms, ' + str(runs) + ' runs':44}{'min':>8}{'median':>8}{'+min':>8}{'+median':>9}")
    for statement, found in times.items():
        low, middle = min(found), statistics.median(found)
        more = f"{low - min(floor):8.1f}{middle - statistics.median(floor):9.1f}"
        print(f"{statement:44}{low:8.1f}{middle:8.1f}{more}")


if __name__ == "__main__":
    typer.run(main)
