"""The verb `generate`. What it needs beyond typer is imported on use."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from runtimes.errors import UsageError
from runtimes.samplers import sampler_names
from runtimes.samplers.choice import SCHEDULES
from runtimes.schedule import SPACINGS

if TYPE_CHECKING:
    from runtimes.bundle import Bundle
    from runtimes.metadata import Origin
    from runtimes.options import Changes, Given
    from runtimes.parts import Memory
    from runtimes.read_inputs import ReadInputs
    from runtimes.recorded import Recorded
    from runtimes.result import Preview, Result


def generate(
    context: typer.Context,
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A compiled bundle, or a folder Optimum exported."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The PNG to write; with --num-images N, x.png becomes x-0.png … x-(N-1).png. "
            "A picture that exists is replaced.",
        ),
    ],
    prompt: Annotated[
        str | None,
        typer.Argument(
            metavar="PROMPT",
            help="What to paint; absent with --prompt-embeds, and with models that take no text; "
            "with --from, in place of its own.",
        ),
    ] = None,
    num_inference_steps: Annotated[
        int | None, typer.Option("--steps", help="Sampler steps, 1 to 1000.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="Classifier-free guidance, 1 or more; 1 turns it off.")
    ] = None,
    negative_prompt: Annotated[
        str | None, typer.Option(help="What guidance leads away from.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the noise; drawn and told if absent.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help=f"One of {', '.join(sampler_names())}.")
    ] = None,
    height: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    width: Annotated[int | None, typer.Option(help="In pixels.")] = None,
    num_images_per_prompt: Annotated[
        int | None, typer.Option("--num-images", help="How many pictures: 1 if absent.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="As the engine names it: cpu, gpu, npu, cuda:0, …; cpu if absent. Of Core ML also "
            "all, and reference: NumPy in its place, to verify with, slowly."
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads within an operation; the engine's choice if absent.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="A picture to change; again for more, each with the prompt."),
    ] = None,
    mask_image: Annotated[
        list[Path] | None,
        typer.Option("--mask", help="White where --image is painted anew, of its size."),
    ] = None,
    depth_map: Annotated[
        list[Path] | None,
        typer.Option("--depth", help="Depth map of --image, lighter where it is nearer."),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="How much of --image is changed, 0 to 1; 0.8 if absent, 1 with --mask."),
    ] = None,
    mask_blur: Annotated[
        float | None, typer.Option(help="Softens the mask, by pixels; seen with --crop-to-mask.")
    ] = None,
    padding_mask_crop: Annotated[
        int | None,
        typer.Option(
            "--crop-to-mask",
            metavar="PADDING",
            help="Paint the mask's surroundings alone, so many pixels wide, and paste them back.",
        ),
    ] = None,
    variation_seed: Annotated[
        int | None, typer.Option(help="A second seed, for a picture near the first one's.")
    ] = None,
    variation_strength: Annotated[
        float | None, typer.Option(help="How near: 0 is --seed's picture, 1 --variation-seed's.")
    ] = None,
    memory: Annotated[
        str,
        typer.Option(help="high or low: with low, each component is loaded for its stage alone."),
    ] = "high",
    from_picture: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A PNG that latedge wrote: make that picture again. What other flags say takes "
            "the place of what it was made with.",
        ),
    ] = None,
    vae_tile: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the tiles in which the VAE works; if absent, large pictures "
            "alone go in tiles."
        ),
    ] = None,
    guidance_rescale: Annotated[
        float | None, typer.Option(help="Against overexposure by guidance, 0 to 1.")
    ] = None,
    guidance_interval: Annotated[
        str | None,
        typer.Option(
            metavar="START,STOP",
            help="Fractions of the steps between which guidance is on, such as 0.1,0.8.",
        ),
    ] = None,
    perp_neg: Annotated[
        bool | None,
        typer.Option(
            "--perp-neg/--no-perp-neg", help="Lead away from what is no part of the prompt alone."
        ),
    ] = None,
    negative_weight: Annotated[
        float | None, typer.Option(help="How far --perp-neg leads away; 1 if absent.")
    ] = None,
    prompt_syntax: Annotated[
        str | None,
        typer.Option(metavar="[plain|a1111|compel]", help="How the prompt writes weights."),
    ] = None,
    long_prompts: Annotated[
        str | None,
        typer.Option(
            metavar="[truncate|chunks]",
            help="Cut prompts beyond 77 tokens, as plain ones are, or chain pieces of 75.",
        ),
    ] = None,
    clip_skip: Annotated[
        int | None, typer.Option(help="Layers of the text encoder left out; 0 if absent.")
    ] = None,
    prompt_embeds: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Saved prompt embeddings, in place of the prompts."),
    ] = None,
    noise_level: Annotated[
        int | None,
        typer.Option(help="Noise that upscaling adds to --image, 0 to 350; 20 if absent."),
    ] = None,
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
    sampler_options: Annotated[
        list[str] | None,
        typer.Option(
            "--sampler-option",
            metavar="NAME=VALUE",
            help="Over a field of the scheduler config; may be repeated.",
        ),
    ] = None,
    prompt_2: Annotated[
        str | None, typer.Option(help="What SDXL's second text encoder reads; PROMPT if absent.")
    ] = None,
    negative_prompt_2: Annotated[
        str | None, typer.Option(help="Likewise for --negative-prompt.")
    ] = None,
    original_size: Annotated[
        str | None,
        typer.Option(
            metavar="HEIGHT,WIDTH", help="What SDXL is told the picture was scaled down from."
        ),
    ] = None,
    crops_coords_top_left: Annotated[
        str | None,
        typer.Option(metavar="TOP,LEFT", help="What SDXL is told of a crop; 0,0 if absent."),
    ] = None,
    target_size: Annotated[
        str | None,
        typer.Option(metavar="HEIGHT,WIDTH", help="The size that SDXL is told; its own if absent."),
    ] = None,
    aesthetic_score: Annotated[
        float | None, typer.Option(help="What an SDXL refiner is told, 0 to 10; 6 if absent.")
    ] = None,
    negative_original_size: Annotated[
        str | None,
        typer.Option(metavar="HEIGHT,WIDTH", help="As --original-size, of what is led away from."),
    ] = None,
    negative_crops_coords_top_left: Annotated[
        str | None, typer.Option(metavar="TOP,LEFT", help="As --crops-coords-top-left, likewise.")
    ] = None,
    negative_target_size: Annotated[
        str | None, typer.Option(metavar="HEIGHT,WIDTH", help="As --target-size, likewise.")
    ] = None,
    negative_aesthetic_score: Annotated[
        float | None, typer.Option(help="As --aesthetic-score, likewise; 2.5 if absent.")
    ] = None,
    refiner_start: Annotated[
        float | None,
        typer.Option(
            help="Share of the noise schedule after which the bundle's refiner goes on; 0.8 if "
            "absent, 1 for never."
        ),
    ] = None,
    image_guidance_scale: Annotated[
        float | None,
        typer.Option(help="How closely InstructPix2Pix keeps to --image, from 1; 1.5 if absent."),
    ] = None,
) -> None:
    """Make pictures from text, or from pictures and text.

    Settings that are not given come from the bundle.
    """
    from runtimes.bundle import open_bundle
    from runtimes.parts import check_memory
    from runtimes.prompts.encoders import takes_text
    from runtimes.prompts.given import given_inputs
    from runtimes.read_inputs import ReadInputs
    from runtimes.recorded import read_recorded

    kept = check_memory(memory)
    # Flags of the call have its options' names, and are taken by them.
    asked = _asked(context.params)
    inputs = ReadInputs(given_inputs(_given(context.params)))
    recorded = None if from_picture is None else read_recorded(from_picture)
    engine = Engine(device, threads, kept)
    opened = open_bundle(bundle)
    if from_picture is None and prompt is None and prompt_embeds is None and takes_text(opened):
        raise UsageError(
            "a PROMPT is missing; give one, or --prompt-embeds, or --from with a picture to make "
            "again."
        )
    result = _made(opened, inputs, asked, recorded, engine, output)
    paths = result.save(output)
    print(_as_json(result, paths) if as_json else _as_line(result, paths))


@dataclass(frozen=True)
class Engine:
    """Where and how a bundle is to run, as the flags say; None where they don't.

    Attributes:
        device: as `Pipeline.open` takes it.
        threads: likewise.
        memory: likewise.
    """

    device: str | None
    threads: int | None
    memory: Memory

    def as_recorded(self, origin: Origin) -> Engine:
        """With what a picture was made with where the flags don't say."""
        return replace(
            self,
            device=origin.device if self.device is None else self.device,
            threads=origin.threads if self.threads is None else self.threads,
        )


def _made(
    bundle: Bundle,
    inputs: ReadInputs,
    asked: Changes,
    recorded: Recorded | None,
    engine: Engine,
    output: Path,
) -> Result:
    """The pictures that are asked for, or those of a record with what is asked in their place."""
    from runtimes.pipeline import Pipeline
    from runtimes.result import check_writable, picture_paths
    from runtimes.settle import settle

    if recorded is None:
        settings, which = settle(bundle, inputs=inputs, **asked), None
    else:
        settings, which = recorded.settle(bundle, inputs, asked), recorded.index_in(asked)
        engine = engine.as_recorded(recorded.origin)
    picture_paths(output, settings.count if which is None else 1)
    check_writable(output)
    # What was asked is known to be right: now the slow part.
    sized = bundle.at(settings.height, settings.width)
    with (
        _progress() as tell,
        Pipeline.open(
            sized, device=engine.device or "cpu", threads=engine.threads, memory=engine.memory
        ) as pipe,
    ):
        if recorded is not None:
            _warn_not_the_same(recorded.differences(settings, pipe.origin, asked))
        result = pipe.run(settings, inputs, callback=tell)
    return result if which is None else result.picture(which)


_PAIRS = ("_size", "_top_left")
"""Endings of flags that take two numbers of pixels."""


def _asked(flags: Mapping[str, Any]) -> Changes:
    """What the command line says of the call, by the options' names."""
    from runtimes.arguments import named_values, number_list, pixel_pair
    from runtimes.options import Changes, names_of

    readers = {
        **dict.fromkeys(("guidance_interval", "sigmas", "timesteps"), number_list),
        **dict.fromkeys((name for name in flags if name.endswith(_PAIRS)), pixel_pair),
    }
    read = {
        name: reader(f"--{name.replace('_', '-')}", flags[name]) for name, reader in readers.items()
    }
    # None where none is given: an empty one would take the place of what --from recorded.
    options = named_values("--sampler-option", flags["sampler_options"] or ()) or None
    found = {**flags, **read, "sampler_options": options}
    names = names_of(Changes) & found.keys()
    return cast("Changes", {name: found[name] for name in names if found[name] is not None})


def _given(flags: Mapping[str, Any]) -> Given:
    """The pictures and arrays in the files that the command line names."""
    from runtimes.picture_input import READERS, open_picture

    found: dict[str, Any] = {
        name: [open_picture(path, name) for path in flags[name]] for name in READERS if flags[name]
    }
    return cast("Given", {**found, "prompt_embeds": flags["prompt_embeds"]})


def _warn_not_the_same(lines: Sequence[str]) -> None:
    from runtimes.recorded import NotTheSame

    for line in lines:
        warnings.warn(line, NotTheSame, stacklevel=1)


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
        "peak_rss_bytes": result.peak_rss_bytes,
    }
    return json.dumps(record, sort_keys=True)
