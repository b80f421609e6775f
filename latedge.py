"""latedge: latent diffusion models compiled for edge hardware, and run in NumPy without torch.

The public names are imported when they are first used:

    pipe = latedge.Pipeline.open("bundle", device="cpu")
    pipe("a red circle above a blue square", seed=0).images[0].save("x.png")

The command line has the same verbs: `latedge --help`, or `python -m latedge --help`.
"""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtimes import version as _version

if TYPE_CHECKING:
    from typer import Typer

    from exporter.compile import compile
    from exporter.coreml.options import CoreMlOptions
    from exporter.errors import CompileError, SourceError, VerificationError, WeightError
    from exporter.export import export
    from exporter.inspection import SourceInspection, inspect_source
    from exporter.source import SourceOptions
    from exporter.verify import verify
    from runtimes.bundle import Bundle, open_bundle
    from runtimes.embeddings_file import PromptEmbeddings
    from runtimes.errors import BundleError, EngineError, LatedgeError, UsageError
    from runtimes.inspection import Inspection, inspect
    from runtimes.interpolation import between, interpolate, lerp, slerp
    from runtimes.pipeline import Pipeline
    from runtimes.prompts import PromptTruncated
    from runtimes.prompts.check import NegativePromptUnused
    from runtimes.recorded import NotTheSame
    from runtimes.result import Cancelled, Preview, Result
    from runtimes.settings import Settings

__version__ = _version.VERSION

__all__ = [
    "Bundle",
    "BundleError",
    "Cancelled",
    "CompileError",
    "CoreMlOptions",
    "EngineError",
    "Inspection",
    "LatedgeError",
    "NegativePromptUnused",
    "NotTheSame",
    "Pipeline",
    "Preview",
    "PromptEmbeddings",
    "PromptTruncated",
    "Result",
    "Settings",
    "SourceError",
    "SourceInspection",
    "SourceOptions",
    "UsageError",
    "VerificationError",
    "WeightError",
    "__version__",
    "between",
    "compile",
    "export",
    "inspect",
    "inspect_source",
    "interpolate",
    "lerp",
    "main",
    "open_bundle",
    "slerp",
    "verify",
]

_HOMES = {
    "Bundle": "runtimes.bundle",
    "BundleError": "runtimes.errors",
    "Cancelled": "runtimes.result",
    "CompileError": "exporter.errors",
    "CoreMlOptions": "exporter.coreml.options",
    "EngineError": "runtimes.errors",
    "Inspection": "runtimes.inspection",
    "LatedgeError": "runtimes.errors",
    "NotTheSame": "runtimes.recorded",
    "NegativePromptUnused": "runtimes.prompts.check",
    "Pipeline": "runtimes.pipeline",
    "Preview": "runtimes.result",
    "PromptEmbeddings": "runtimes.embeddings_file",
    "PromptTruncated": "runtimes.prompts",
    "Result": "runtimes.result",
    "Settings": "runtimes.settings",
    "SourceError": "exporter.errors",
    "SourceInspection": "exporter.inspection",
    "SourceOptions": "exporter.source",
    "UsageError": "runtimes.errors",
    "VerificationError": "exporter.errors",
    "WeightError": "exporter.errors",
    "between": "runtimes.interpolation",
    "compile": "exporter.compile",
    "export": "exporter.export",
    "inspect": "runtimes.inspection",
    "inspect_source": "exporter.inspection",
    "interpolate": "runtimes.interpolation",
    "lerp": "runtimes.interpolation",
    "open_bundle": "runtimes.bundle",
    "slerp": "runtimes.interpolation",
    "verify": "exporter.verify",
}
"""Public name → the module that has it."""

VERBS = {
    "export": "exporter.cli:export",
    "compile": "exporter.cli:compile",
    "verify": "exporter.cli:verify",
    "generate": "runtimes.generate_command:generate",
    "inspect": "exporter.cli:inspect",
    "bench": "benchmarks.bench.command:bench",
    "synth": "benchmarks.synthetic:command",
    "report": "benchmarks.report.command:report",
}
"""Verb of the command line → the function behind it."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'latedge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def main(arguments: Sequence[str] | None = None) -> int:
    """The `latedge` command.

    Args:
        arguments: of the command line; None takes the process's own.

    Returns:
        The exit status: 0 done, 1 failed, 2 wrong usage.
    """
    from runtimes.clean_exit import run

    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path or prompt that the terminal's encoding lacks is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    verb = f"latedge {given[0]}" if given[0] in VERBS else "latedge"
    return run(lambda: _command_line(given), given, name=verb)


def _command_line(given: Sequence[str]) -> Typer:
    """The verbs that may be meant: the one that is named first, or all where none is."""
    import typer

    from runtimes.clean_exit import exits_cleanly

    app = typer.Typer(add_completion=False)

    def version(asked: bool) -> None:
        if asked:
            print(f"latedge {__version__}")
            raise typer.Exit

    @app.callback()
    def options(  # pyright: ignore[reportUnusedFunction]
        version: bool = typer.Option(
            False, "--version", callback=version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Compiles latent diffusion models for edge hardware and makes pictures with them."""

    for verb in [given[0]] if given[0] in VERBS else VERBS:
        module, _, function = VERBS[verb].partition(":")
        app.command(verb)(exits_cleanly(getattr(importlib.import_module(module), function)))
    return app


if __name__ == "__main__":
    raise SystemExit(main())
