"""How a benchmark is run from the command line: as the verbs are, errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer


def run_command(
    function: Callable[..., object], name: str, arguments: Sequence[str] | None = None
) -> int:
    """Runs a benchmark's function with the arguments of the command line.

    Args:
        function: typed as typer reads it.
        name: as the user calls it, such as "python -m benchmarks.sampler_table".
        arguments: None takes the process's own.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage.
    """
    from runtimes.clean_exit import exits_cleanly, run

    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]

    def build() -> typer.Typer:
        app = typer.Typer(add_completion=False)
        app.command()(exits_cleanly(function))
        return app

    return run(build, given, name=name)
