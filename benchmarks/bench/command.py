"""The verb `bench`. What it needs beyond typer is imported on use."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from benchmarks.bench.results import Report

COMPARING = ("compare", "fail_over", "different_models", "as_json", "as_csv", "as_markdown")
"""The options that go with --compare."""

PROMPT = "a large red circle in the top left on a white background"


def bench(
    context: typer.Context,
    bundles: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="BUNDLE",
            help="Compiled bundles of one model; each is compared with the first.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="torch or torch-compiled: the same networks in torch are a row too (on the CPU)."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="For --against: the Diffusers folder, where no bundle has its weights."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="OLD NEW", help="Measure nothing: compare two results (JSON)."),
    ] = None,
    fail_over: Annotated[
        str, typer.Option(help="With --compare: how much worse is a failure (exit status 1).")
    ] = "5%",
    sessions: Annotated[
        int, typer.Option(help="Processes of each subject, one after the other.")
    ] = 5,
    rounds: Annotated[
        int, typer.Option(help="Pictures of each subject in a session, taken in turns.")
    ] = 5,
    warmup: Annotated[
        int, typer.Option(help="Pictures before those; the first one is timed as first call.")
    ] = 1,
    sequential: Annotated[
        bool,
        typer.Option(
            "--sequential",
            help="One subject after the other, where they don't fit into memory together.",
        ),
    ] = False,
    prompt: Annotated[str, typer.Option(help="What is drawn.")] = PROMPT,
    negative_prompt: Annotated[str, typer.Option(help="What guidance leads away from.")] = "",
    steps: Annotated[int, typer.Option(help="Sampler steps of a picture.")] = 20,
    guidance_scale: Annotated[float | None, typer.Option(help="1 or less turns it off.")] = None,
    sampler: Annotated[str | None, typer.Option(help="As of `generate`.")] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    height: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    device: Annotated[
        str, typer.Option(help="As the engine names it: cpu, gpu, cuda:0, …")
    ] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Threads within an operation; the engine's choice if absent.")
    ] = None,
    batches: Annotated[
        str, typer.Option(help="Throughput of so many pictures at once, such as 1,2,4.")
    ] = "",
    sizes: Annotated[
        str, typer.Option(help="Cost at other sizes, such as 256x256,512x512 (width x height).")
    ] = "",
    quality: Annotated[
        int, typer.Option(help="Pictures compared with the reference's; 0 compares none.")
    ] = 4,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="What draws the reference: a Diffusers folder (torch, fp32) or a bundle. If "
            "absent, the first bundle whose U-Net is stored in fp32."
        ),
    ] = None,
    clip: Annotated[
        Path | None, typer.Option(help="A CLIP model's folder: tell the pictures' CLIP score.")
    ] = None,
    shapes_prompts: Annotated[
        int,
        typer.Option(help="With the shapes model: prompts a class whose pictures are judged."),
    ] = 0,
    limits: Annotated[
        bool,
        typer.Option(
            "--limits/--no-limits", help="Count FLOPs and bytes, measure what the machine can do."
        ),
    ] = True,
    different_models: Annotated[
        bool,
        typer.Option("--different-models", help="Compare what was made from different models."),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the result as JSON here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON on stdout.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="One line a subject, as CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Tables in Markdown.")] = False,
) -> None:
    """Measure latency, memory, load time, size and quality of bundles, in turns."""
    from benchmarks.bench.output import check_output
    from benchmarks.bench.request import Request
    from runtimes.errors import UsageError

    form = _form(as_json, as_csv, as_markdown)
    if compare is not None:
        if bundles:
            raise UsageError("--compare takes two results and no bundles.")
        others = [name for name in context.params if name not in COMPARING]
        _refuse_given(context, others, "--compare measures nothing, so this has no effect")
        _compare(*compare, fail_over, different_models, form)
        return
    _refuse_given(context, ["fail_over"], "only --compare fails by it, and it isn't given")
    if not bundles:
        raise UsageError("no bundle is given. Say for example: latedge bench shapes.ort shapes.ov")
    if output is not None:
        check_output(output, bundles)
    request = Request(
        paths=tuple(bundles),
        prompt=prompt,
        negative_prompt=negative_prompt,
        steps=steps,
        guidance_scale=guidance_scale,
        sampler=sampler,
        seed=seed,
        height=height,
        width=width,
        device=device,
        threads=threads,
        sessions=sessions,
        rounds=rounds,
        warmup=warmup,
        interleaved=not sequential,
        batches=batches,
        sizes=sizes,
        limits=limits,
        against=against,
        source=source,
        different_models=different_models,
        quality=quality,
        reference=reference,
        clip=clip,
        shapes_prompts=shapes_prompts,
    )
    with progress() as tell:
        report = request.run(shlex.join(["latedge", *sys.argv[1:]]), tell)
    _show(report, form, output)
    failures = list(_failures(report))
    for line in failures:
        typer.echo(f"error: {line}", err=True)
    if failures:
        raise typer.Exit(1)


def _failures(report: Report) -> Iterator[str]:
    """What was asked for and could not be measured, a line each."""
    for subject in report.subjects:
        if subject.error is not None:
            yield f"{subject.name}: {subject.error}"
        for batch in subject.batches:
            if batch.error is not None:
                yield f"{subject.name}, {batch.size} at once: {batch.error}"
        for each in subject.resolutions:
            if each.error is not None:
                yield f"{subject.name}, {each.width}×{each.height}: {each.error}"


def _refuse_given(context: typer.Context, names: Iterable[str], reason: str) -> None:
    """Refuses options that would be without effect.

    Raises:
        UsageError: one of them was given; names it.
    """
    from runtimes.errors import UsageError

    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise UsageError(f"{'--' + name.removeprefix('as_').replace('_', '-')}: {reason}.")


Form = Literal["text", "json", "csv", "markdown"]


def _form(as_json: bool, as_csv: bool, as_markdown: bool) -> Form:
    from runtimes.errors import UsageError

    asked: list[Form] = [
        form
        for form, wanted in (("json", as_json), ("csv", as_csv), ("markdown", as_markdown))
        if wanted
    ]  # pyright: ignore[reportAssignmentType]
    if len(asked) > 1:
        raise UsageError(f"--{asked[0]} and --{asked[1]} exclude each other: one form on stdout.")
    return asked[0] if asked else "text"


def _compare(old: Path, new: Path, fail_over: str, different: bool, form: Form) -> None:
    import msgspec

    from benchmarks.bench.compare import compare
    from benchmarks.bench.comparison_table import as_table
    from benchmarks.bench.limit import parse_limit
    from benchmarks.bench.results import read
    from runtimes.errors import UsageError

    limit = parse_limit(fail_over)
    if form == "csv":
        raise UsageError("--compare gives a table in Markdown, or --json; --csv is not for it.")
    found = compare(read(old), read(new), limit, different=different)
    if form == "json":
        result = {**msgspec.to_builtins(found), "failed": found.failed}
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    else:
        print(as_table(found))
    if found.failed:
        raise typer.Exit(1)


def _show(report: Report, form: Form, output: Path | None) -> None:
    """Writes the file and prints the result, which a full disk doesn't take away."""
    from benchmarks.bench.csv_lines import as_csv
    from benchmarks.bench.results import encode
    from benchmarks.bench.tables import as_markdown, as_text
    from runtimes.pictures import write_whole

    try:
        if output is not None:
            write_whole(output, encode(report))
    finally:
        if form == "text":
            as_text(report)
        elif form == "json":
            sys.stdout.write(encode(report).decode())
        else:
            print((as_csv if form == "csv" else as_markdown)(report))


@contextmanager
def progress() -> Generator[Callable[[str], None]]:
    """What is being done, on stderr: a line that changes on a terminal, lines elsewhere."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda line: console.print(line, markup=False)
        return
    # At rich's own 12.5 a second it takes 1.1 % of a core away from what is measured; at 2, 0.1.
    with console.status("starting", refresh_per_second=2) as status:
        yield lambda line: status.update(escape(line))
