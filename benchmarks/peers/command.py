"""`make peers`: every program on the same model, one after the other; a table and a JSON file."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench.output import check_output
from benchmarks.bench.results import Plan, Settings, encode
from benchmarks.environments.environment import REPOSITORY
from benchmarks.peers.model import open_model
from benchmarks.peers.preparing import Workshop, all_cores
from benchmarks.peers.subjects import PEERS, Peer
from benchmarks.synthetic import MODELS
from runtimes.checks import check_count
from runtimes.errors import UsageError, unknown_name
from runtimes.pictures import write_whole

WORK = REPOSITORY / "build" / "peers"
OUTPUT = REPOSITORY / "benchmarks" / "results" / "peers.json"
SAMPLER = "ddim"
"""The one that all peers have, or nearly."""

_ALWAYS = ("model", "steps", "sessions", "rounds")
_PLACES = ("work", "output", "timeout")

MOST = 1000
MOST_SECONDS = 1_000_000


def peers(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            help=f"shapes, a synthetic model ({', '.join(MODELS)}), or a Diffusers folder."
        ),
    ] = "sd15",
    steps: Annotated[int, typer.Option(help="Steps of a picture.")] = 2,
    sessions: Annotated[int, typer.Option(help="Processes of each program.")] = 1,
    rounds: Annotated[int, typer.Option(help="Pictures of a session, after the first.")] = 2,
    threads: Annotated[
        int | None, typer.Option(help="Within an operation; all cores by default.")
    ] = None,
    prompt: Annotated[str, typer.Option()] = "a photograph of an astronaut riding a horse",
    negative: Annotated[str, typer.Option()] = "blurry",
    guidance: Annotated[float, typer.Option(help="Classifier-free guidance.")] = 7.5,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 11,
    only: Annotated[
        list[str] | None, typer.Option(help="Measure this row alone; may be given several times.")
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Compare each program's picture with the first one's.")
    ] = True,
    timeout: Annotated[
        float, typer.Option(help="Seconds of one installation, export or measuring process.")
    ] = 3600.0,
    work: Annotated[Path, typer.Option(help="Folder for environments, models, exports.")] = WORK,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The JSON file: benchmarks/results/peers.json for all rows of sd15, else "
            "peers.json in the --work folder, if absent.",
        ),
    ] = None,
) -> None:
    """Measure latedge, diffusers, Optimum, OpenVINO GenAI and stable-diffusion.cpp on one model."""
    rows = chosen(only or ())
    if output is None:
        output = OUTPUT if model == "sd15" and not only else work / "peers.json"
    plan = Plan(
        sessions=check_count("--sessions", sessions, MOST),
        rounds=check_count("--rounds", rounds, MOST),
        warmup=1,
        interleaved=False,
    )
    check_count("--steps", steps, MOST)
    cores = all_cores() if threads is None else check_count("--threads", threads, MOST)
    if not 0 < timeout <= MOST_SECONDS:
        raise UsageError(f"--timeout must be above 0 and at most {MOST_SECONDS}, not {timeout:g}.")
    output.parent.mkdir(parents=True, exist_ok=True)
    check_output(output, [])
    # After the checks: these need the extras bench, export and synth.
    from benchmarks.bench.tables import as_markdown
    from benchmarks.peers.measuring import Benchmark

    work = work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    found = open_model(model, work / "models", _tell)
    settings = Settings(
        prompt=prompt,
        negative_prompt=negative,
        num_inference_steps=steps,
        guidance_scale=guidance,
        sampler=SAMPLER,
        seed=seed,
        height=found.height,
        width=found.width,
    )
    workshop = Workshop(found, work, cores, timeout, _tell)
    shutil.rmtree(workshop.cache, ignore_errors=True)
    os.environ["LATEDGE_CACHE"] = str(workshop.cache)
    command = shlex.join(["python", "-m", "benchmarks.peers", *_typed(context)])
    report = Benchmark(rows, workshop, settings, plan, pictures, command).report()
    try:
        write_whole(output, encode(report))
    finally:
        print(as_markdown(report))  # which a full disk doesn't take away
    if any(subject.error for subject in report.subjects):
        raise typer.Exit(1)


def chosen(names: Sequence[str]) -> tuple[Peer, ...]:
    """The rows of these names, all of them for none.

    Raises:
        UsageError: there is no such row.
    """
    known = {peer.name: peer for peer in PEERS}
    for name in names:
        if name not in known:
            raise unknown_name("row", name, known)
    return tuple(peer for peer in PEERS if not names or peer.name in names)


def _typed(context: typer.Context) -> list[str]:
    """The options that decide about figures: given ones, and those whose defaults may change."""
    words: list[str] = []
    for name in (option.name or "" for option in context.command.params):  # as they are declared
        source, value = context.get_parameter_source(name), context.params.get(name)
        given = source is not None and source.name == "COMMANDLINE"
        if name in _ALWAYS or (given and name not in _PLACES):
            words += _words(name, value)
    return words


def _words(name: str, value: object) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    values: list[object] = [*value] if isinstance(value, list) else [value]
    # Of a model's folder the name: where it lies is this machine's alone.
    shown = [Path(str(each)).name if name == "model" else str(each) for each in values]
    return [word for each in shown for word in (f"--{name}", each)]


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; gives 0 done, 1 a row failed or all did, 2 wrong usage."""
    from runtimes.clean_exit import exits_cleanly, run

    def build() -> typer.Typer:
        app = typer.Typer(add_completion=False)
        app.command()(exits_cleanly(peers))
        return app

    return run(build, arguments, name="python -m benchmarks.peers")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
