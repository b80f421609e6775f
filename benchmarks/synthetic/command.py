"""`latedge synth`: the command line of the synthetic models."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.synthetic.folder import Progress, synthesize
from benchmarks.synthetic.laws import DTYPES
from benchmarks.synthetic.models import MODELS
from benchmarks.synthetic.single_file import synthesize_file
from runtimes.errors import UsageError, unknown_name

LAYOUTS = ("diffusers", "single")


def command(
    model: Annotated[str, typer.Argument(help=f"Which model: {', '.join(MODELS)}.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new folder.")],
    dtype: Annotated[str, typer.Option(help=f"Of the weights: {', '.join(DTYPES)}.")] = "fp16",
    seed: Annotated[int, typer.Option(help="Another seed gives other weights.")] = 0,
    shards: Annotated[int, typer.Option(help="Weight files per network, at most.")] = 1,
    layout: Annotated[
        str,
        typer.Option(
            help="diffusers: a folder; single: a .safetensors file in the original naming, without "
            "configs and tokenizer."
        ),
    ] = "diffusers",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Write a model of true architecture with random weights."""
    if layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    if layout == "single" and shards != 1:
        raise UsageError(f"--shards {shards} doesn't go with --layout single, which is one file.")
    with _bar() as progress:
        if layout == "single":
            made = synthesize_file(
                model, output, dtype=dtype, seed=seed, force=force, progress=progress
            )
        else:
            made = synthesize(
                model, output, dtype=dtype, seed=seed, shards=shards, force=force, progress=progress
            )
    files = [made] if made.is_file() else [file for file in made.rglob("*") if file.is_file()]
    size_bytes = sum(file.stat().st_size for file in files)
    if as_json:
        result = {"path": str(made), "model": model, "dtype": dtype, "seed": seed}
        typer.echo(
            json.dumps({**result, "shards": shards, "layout": layout, "size_bytes": size_bytes})
        )
    else:
        typer.echo(f"{made}: {MODELS[model].title}, {dtype}, {size_bytes / 1e6:,.1f} MB")


@contextmanager
def _bar() -> Generator[Progress, None, None]:
    """A progress bar on stderr, and the function that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    bar = Bar(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("")

    def move(network: str, done: int, total: int) -> None:
        bar.update(task, description=network, completed=done, total=total)
        bar.start()  # only here, so that an error in the arguments stands alone

    try:
        yield move
    finally:
        if bar.live.is_started:
            bar.stop()
