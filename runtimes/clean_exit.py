"""How every verb ends: done, or with one clear line on stderr and an exit status of 1 or 2."""

from __future__ import annotations

import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import typer

from runtimes.errors import LatedgeError

TRACEBACK = "LATEDGE_TRACEBACK"
"""Environment variable; when set, an error's traceback is printed before its line."""

EXTRAS: dict[str, str] = {
    "torch": "export",
    "diffusers": "export",
    "transformers": "export",
    "tokenizers": "export",
    "onnx": "export",
    "onnx_ir": "export",
    "onnxscript": "export",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "plotly": "bench",
    "psutil": "bench",
    "pynvml": "bench",
    "skimage": "bench",
}
"""Module → the extra of latedge that installs it."""

P = ParamSpec("P")
R = TypeVar("R")


def exits_cleanly(verb: Callable[P, R]) -> Callable[P, R]:
    """Wraps the function behind a verb: whatever it raises ends in one line and `typer.Exit`.

    Its warnings become one line each, too.
    """

    @functools.wraps(verb)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                return verb(*args, **kwargs)
            except (typer.Exit, SystemExit):
                raise
            except BaseException as e:
                raise typer.Exit(report(e)) from e

    return wrapped


def run(build: Callable[[], typer.Typer], arguments: Sequence[str], *, name: str) -> int:
    """Runs a command line.

    Args:
        build: makes it, its verbs wrapped in `exits_cleanly`; what fails here is told as well.
        arguments: of the command line.
        name: of the command whose `--help` is pointed to when the usage is wrong.

    Returns:
        The exit status.
    """
    try:
        command = typer.main.get_command(build())
        status = command.main(list(arguments), prog_name="latedge", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as e:
        # typer's own end where the reader of its help went away.
        status = e.code
    except typer.TyperException as e:
        text = one_line(e.format_message())
        stop = "" if text.endswith((".", "?")) else "."
        print(f"error: {text}{stop} See: {name} --help", file=sys.stderr)
        return e.exit_code
    except BaseException as e:
        return report(e)
    return status if isinstance(status, int) else 0


def report(error: BaseException) -> int:
    """Prints an error's line on stderr; returns the exit status that belongs to it."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error)
    if isinstance(error, OSError):
        _drop_unwritten_output()
    if isinstance(error, BrokenPipeError):
        # The reader of our output went away (`| head`); nobody is left to tell.
        return 1
    print(f"error: {one_line(describe(error))}", file=sys.stderr)
    return error.exit_code if isinstance(error, LatedgeError) else 1


def describe(error: BaseException) -> str:
    """What happened, and what to do where that isn't plain."""
    match error:
        case LatedgeError():
            return f"{error} {_notes(error)}".strip()
        case KeyboardInterrupt():
            return f"interrupted; {_notes(error) or 'nothing half-written is left.'}"
        case ModuleNotFoundError(name=str(name)) if name.partition(".")[0] in EXTRAS:
            module = name.partition(".")[0]
            return f'{module} is not installed: pip install "latedge[{EXTRAS[module]}]"'
        case OSError(strerror=str(reason), filename=filename):
            return f"{filename}: {reason}." if filename is not None else f"{reason}."
        case MemoryError():
            return f"out of memory{f'; {notes}' if (notes := _notes(error)) else '.'}"
        case _:
            return (
                f"{type(error).__name__}: {error} (a fault in latedge; run again with "
                f"{TRACEBACK}=1 for the traceback, and report it)"
            )


def _notes(error: BaseException) -> str:
    """What the interrupted work added on what it leaves."""
    return " ".join(getattr(error, "__notes__", ()))


def one_line(text: str) -> str:
    """A text with its line breaks and their indents made spaces."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _drop_unwritten_output() -> None:
    """Keeps Python from flushing stdout once more at its end, where that can't work."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    print(f"warning: {one_line(str(message))}", file=sys.stderr)
