"""The verbs `generate` and `inspect`. What they need beyond typer is imported on use."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtimes.samplers import sampler_names
from runtimes.samplers.choice import SCHEDULES
from runtimes.schedule import SPACINGS

if TYPE_CHECKING:
    from rich.console import Console

    from runtimes.inspection import InspectedComponent, Inspection
    from runtimes.manifest import Port, Provenance
    from runtimes.result import Preview, Result

_PORTS_SHOWN = 4

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def generate(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A compiled bundle, or a folder Optimum exported."),
    ],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to paint.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The PNG to write; with --num-images N, x.png becomes x-0.png … x-(N-1).png. "
            "A picture that exists is replaced.",
        ),
    ],
    steps: Annotated[int | None, typer.Option(help="Sampler steps, 1 to 1000.")] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Classifier-free guidance; 1 or less turns it off.")
    ] = None,
    negative_prompt: Annotated[str, typer.Option(help="What guidance leads away from.")] = "",
    seed: Annotated[
        int | None, typer.Option(help="Of the noise; drawn and told if absent.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(sampler_names())}.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    num_images: Annotated[int, typer.Option(help="How many pictures.")] = 1,
    device: Annotated[
        str, typer.Option(help="As the engine names it: cpu, gpu, npu, cuda:0, …")
    ] = "cpu",
    threads: Annotated[
        int | None, typer.Option(help="Threads within an operation; the engine's choice if absent.")
    ] = None,
    as_json: Json = False,
    schedule: Annotated[
        str | None, typer.Option(help=f"Of noise levels: one of {', '.join(SCHEDULES)}.")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option(help=f"Of timesteps: one of {', '.join(SPACINGS)}.")
    ] = None,
    sigmas: Annotated[
        str | None,
        typer.Option(help="Noise levels in place of steps and schedule, such as 14.6,3.9,0.9,0."),
    ] = None,
    timesteps: Annotated[
        str | None, typer.Option(help="Timesteps, likewise, such as 999,666,333.")
    ] = None,
    sampler_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Over a field of the scheduler config; may be repeated."
        ),
    ] = None,
) -> None:
    """Make pictures from text. Settings that are not given come from the bundle."""
    from runtimes.arguments import named_values, number_list
    from runtimes.bundle import open_bundle
    from runtimes.pipeline import Pipeline
    from runtimes.result import picture_paths
    from runtimes.settle import settle

    opened = open_bundle(bundle)
    settings = settle(
        opened,
        prompt,
        negative_prompt,
        num_inference_steps=steps,
        guidance_scale=guidance_scale,
        seed=seed,
        sampler=sampler,
        height=height,
        width=width,
        num_images_per_prompt=num_images,
        schedule=schedule,
        spacing=spacing,
        sigmas=number_list("--sigmas", sigmas),
        timesteps=number_list("--timesteps", timesteps),
        sampler_options=named_values("--sampler-option", sampler_option or ()),
    )
    picture_paths(output, settings.count)
    # What was asked is known to be right: now the slow part.
    with _progress() as tell, Pipeline.open(opened, device=device, threads=threads) as pipe:
        result = pipe.run(settings, callback=tell)
    paths = result.save(output)
    print(_as_json(result, paths) if as_json else _as_line(result, paths))


@contextmanager
def _progress() -> Generator[Callable[[Preview], None]]:
    """A bar on stderr, where that is a terminal; gives the callback that moves it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("loading", total=None)

        def tell(step: Preview) -> None:
            done = step.index + 1
            stage = "sampling" if done < step.total else "decoding"
            bar.update(task, description=stage, completed=done, total=step.total)

        yield tell


def _as_line(result: Result, paths: list[Path]) -> str:
    settings = result.settings
    written = str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1]}"
    given = "given sigmas" if settings.sigmas is not None else "given timesteps"
    schedule = settings.schedule or given
    followed = "" if schedule == "plain" else f" ({schedule})"
    return (
        f"{written}: {settings.width}×{settings.height}, {settings.num_inference_steps} steps of "
        f"{settings.sampler}{followed}, guidance {settings.guidance_scale:g}, "
        f"seed {settings.seed}, "
        f"{result.timings.total / 1000:.1f} s"
    )


def _as_json(result: Result, paths: list[Path]) -> str:
    import msgspec

    record = {
        "paths": [str(path) for path in paths],
        "seed": result.seed,
        "settings": msgspec.to_builtins(result.settings),
        "origin": msgspec.to_builtins(result.origin),
        "timings_ms": msgspec.to_builtins(result.timings),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    return json.dumps(record, sort_keys=True)


def peak_rss_bytes() -> int | None:
    """The most memory this process has held so far; None where the system doesn't tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def inspect(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Any bundle.")],
    as_json: Json = False,
) -> None:
    """Tell what a bundle is, and check that its files are as its manifest says."""
    from runtimes.inspection import inspect as run

    found = run(bundle)
    if as_json:
        import msgspec

        print(json.dumps(msgspec.to_builtins(found)))
    else:
        from rich.console import Console

        _show(found, Console(highlight=False))


def _show(found: Inspection, console: Console) -> None:
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(found).items():
        facts.add_row(name, value)
    console.print(facts)
    parts = Table("component", "stored", "weights", "size", "inputs and outputs")
    for name, component in found.components.items():
        for key, graph in component.graphs.items():
            lines = [*_lines("→", graph.inputs), *_lines("←", graph.outputs)]
            title = name if key == "model" else f"{name} ({key})"
            parts.add_row(
                title,
                graph.precision,
                _weights(component),
                _mb(component.size_bytes),
                "\n".join(lines),
            )
    console.print(parts)


def _facts(found: Inspection) -> dict[str, str]:
    latents, defaults, provenance = found.latents, found.defaults, found.provenance
    return {
        "bundle": found.path,
        "family": f"{found.family}, schema {found.schema}",
        "tasks": ", ".join(found.tasks) or "none",
        "target": found.target or "none: portable, to be compiled",
        "engine": ", ".join(found.engines) or "none",
        "predicts": found.prediction_type,
        "latents": f"{latents.channels} channels, {latents.vae_factor} pixels a cell, "
        f"scaled by {latents.scaling_factor:g}",
        "defaults": f"{defaults.width}×{defaults.height}, {defaults.num_inference_steps} steps of "
        f"{defaults.sampler}, guidance {defaults.guidance_scale:g}",
        "files": f"{found.files}, {_mb(found.size_bytes)}, {_checked(found)}",
        "source": _origin(provenance),
        "made with": ", ".join(f"{tool} {number}" for tool, number in provenance.tools.items()),
        "options": "; ".join(
            f"{verb} {', '.join(f'{key}={value}' for key, value in options.items())}"
            for verb, options in provenance.options.items()
        ),
    }


def _origin(provenance: Provenance) -> str:
    kind = f"{provenance.source_kind}, " if provenance.source_kind else ""
    model = f"{provenance.hub_id} at {provenance.revision}, " if provenance.hub_id else ""
    return f"{kind}{model}SHA-256 {provenance.source_sha256}"


def _checked(found: Inspection) -> str:
    if found.inferred:
        return "compared with nothing: there is no manifest, all this was inferred"
    return "as the manifest says"


def _lines(arrow: str, ports: Sequence[Port]) -> list[str]:
    shown = [
        f"{arrow} {port.name} {port.dtype} \\[{', '.join(map(str, port.shape))}]"
        for port in ports[:_PORTS_SHOWN]
    ]
    more = len(ports) - len(shown)
    return [*shown, f"{arrow} and {more} more"] if more else shown


def _weights(component: InspectedComponent) -> str:
    if component.weights is None or component.parameters is None:
        return "?"
    return f"{component.weights} tensors\n{component.parameters:,} parameters"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
