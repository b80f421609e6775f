"""A whole picture by the runtime against diffusers' own pipeline, at the same seed.

Components can each agree with torch while the picture is another: a wrong scaling factor, a
schedule that is read otherwise, swapped guidance halves. diffusers draws first and is freed before
the runtime draws, so that the two are never in memory together.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import torch
import transformers
from diffusers import (
    DDIMScheduler,
    VQModel,  # pyright: ignore[reportPrivateImportUsage]
)
from numpy.typing import NDArray

from exporter import sdxl_picture, textless_picture
from exporter.components.base import Config
from exporter.compressed_thresholds import PICTURES_DB, asked_db
from exporter.errors import VerificationError
from exporter.families import FAMILIES
from exporter.families.sdxl import SDXL_REFINER
from exporter.image_report import ImageReport
from exporter.prepare import Prepared
from exporter.progress import Progress
from exporter.reference import GUIDANCE_SCALE, PROMPTS, load_network
from exporter.report import Report
from exporter.targets.ort import open_lowered
from exporter.verified_engine import verifying_device
from runtimes.bundle import Bundle, read_json
from runtimes.component import Component
from runtimes.errors import UsageError
from runtimes.inputs import NO_INPUTS, Inputs
from runtimes.manifest import Manifest
from runtimes.metadata import Origin
from runtimes.options import Options
from runtimes.parts import loaded_parts
from runtimes.pipeline import Pipeline
from runtimes.prompts.encoders import takes_text
from runtimes.result import Preview
from runtimes.samplers import make_sampler, noise_schedule
from runtimes.settings import Settings
from runtimes.settle import settle
from runtimes.tokenizer import ClipTokenizer
from runtimes.version import VERSION

Array = NDArray[Any]

PROMPT = PROMPTS[0]
SEED = 0
STEPS = 5
SAMPLER = "ddim"
"""Without noise of its own, and one call of the network a step."""

THRESHOLDS_DB: dict[str, float] = {"fp32": 45.0, "fp16": 35.0}
"""PSNR that picture and latents must reach, by the precision in which weights are stored.

Float32 on both sides leaves reordered sums, 100 dB and more after a few steps; a wrong timestep or
factor gives 30 and less. Weights that were rounded to fp16 move each step's prediction a little
and the trajectory with it (75 dB on the shapes model; deep networks keep less). 45 dB is 1.4 of 255
levels, root mean square; 35 dB is 4.5.
"""

_NETWORKS = {
    "text_encoder": "last_hidden_state",
    "text_encoder_2": "last_hidden_state",
    "unet": "out_sample",
    "vae_decoder": "sample",
}
"""What a picture takes: component → the output that is read. Without text, no text encoder."""

_FLOAT32_BYTES = 4
_ENCODERS = {family.name: tuple(family.tokenizers) for family in FAMILIES}
"""Family → the text encoders that its pictures take."""


@dataclass(frozen=True)
class Drawn:
    """A picture and how it came about.

    Attributes:
        picture: float32 [1, height, width, 3], in [0, 1].
        latents: after each step, float32 [1, channels, h, w].
    """

    picture: Array
    latents: tuple[Array, ...]


def check_drawable(
    where: object,
    family: str,
    tasks: Collection[str],
    components: Collection[str],
    scheduler: Config,
) -> None:
    """Refuses, before slow work, a model of which no picture can be drawn.

    Args:
        where: the model, as the message names it.
        family: its family's name.
        tasks: what it is for.
        components: what it has or shall have.
        scheduler: the content of its scheduler_config.json.

    Raises:
        UsageError: says what is in the way and what to ask for in its place.
    """
    instead = "verify its components alone"
    drawn = {"text-to-image", *textless_picture.TASKS}
    if not drawn & set(tasks) and family != SDXL_REFINER.name:
        raise UsageError(
            f"{where} can't draw a whole picture from text; it is made for "
            f"{', '.join(tasks) or 'no task that this version of latedge knows'}: {instead}."
        )
    wanted = (*_ENCODERS.get(family, ()), "unet", "vae_decoder")
    missing = [name for name in wanted if name not in components]
    if missing:
        raise UsageError(
            f"{where} can't draw a whole picture without {' and '.join(missing)}: take all "
            f"components, or {instead}."
        )
    try:
        make_sampler(SAMPLER, scheduler).levels(noise_schedule(SAMPLER, scheduler), STEPS)
    except UsageError as e:
        raise UsageError(
            f"{where}: whole pictures are verified with {SAMPLER}, which can't run here ({e}); "
            f"{instead}."
        ) from e


def announcement(manifest: Manifest, prepared: Mapping[str, Prepared], report: Report) -> str:
    """What the comparison will cost, said before it starts.

    Args:
        manifest: of the bundle.
        prepared: the components with torch's weights.
        report: of the components: how long their calls took.
    """
    guided = "guided " if manifest.tokenizers else ""
    calls = {**dict.fromkeys(_NETWORKS, 1), "unet": STEPS}
    measured = {name: report.components[name] for name in _drawing(manifest)}
    seconds = sum(
        calls[name] * (found.seconds_reference + found.seconds_engine) / found.samples
        for name, found in measured.items()
    )
    weights = [tensor for name in measured for tensor in prepared[name].weights.values()]
    size_bytes = _FLOAT32_BYTES * sum(math.prod(tensor.shape) for tensor in weights)
    return (
        f"whole picture: {STEPS} {guided}steps of {SAMPLER} at {manifest.defaults.height}×"
        f"{manifest.defaults.width} will take about {_duration(seconds)}, by what the components "
        f"took. Weights take up to {size_bytes / 1e9:.2f} GB, first in torch and then in the "
        "engine, not in both at once; activations come on top"
    )


def with_image(
    folder: Path,
    manifest: Manifest,
    prepared: Mapping[str, Prepared],
    report: Report,
    progress: Progress,
    *,
    device: str | None = None,
) -> Report:
    """Draws one picture with diffusers and with the runtime and adds the comparison to a report.

    Args:
        folder: the bundle, portable or compiled.
        manifest: its manifest; `check_drawable` took it.
        prepared: its components with the weights that torch takes.
        report: of the components, whose times the announcement rests on.
        progress: told the cost before the work, and the outcome.
        device: as `exporter.verified_engine.verifying_device` gave it; None for its choice.

    Raises:
        EngineError: an engine failed or gave NaN; says at which step.
        VerificationError: diffusers itself gives NaN.
    """
    progress(announcement(manifest, prepared, report))
    bundle = Bundle(folder, manifest)
    kind = textless_picture if manifest.conditioning is None else sdxl_picture
    inputs = kind.inputs_of(manifest)
    told = (PROMPT, GUIDANCE_SCALE) if takes_text(bundle) else (None, None)
    options: Options = {
        "num_inference_steps": STEPS,
        "guidance_scale": told[1],
        "seed": SEED,
        "sampler": SAMPLER,
        **sdxl_picture.options_of(manifest),
    }
    settings = settle(bundle, told[0], inputs=inputs, **options)
    start = time.perf_counter()
    reference = draw_reference(folder, manifest, prepared, settings, inputs)
    gc.collect()
    between = time.perf_counter()
    found = draw_bundle(folder, manifest, settings, inputs, device=device)
    seconds = (between - start, time.perf_counter() - between)
    image = compare(settings, reference, found, _threshold_db(manifest), seconds)
    reached = "equal" if image.psnr_db is None else f"{image.psnr_db:.1f} dB"
    verdict = "agrees with diffusers" if image.passed else "DEPARTS from diffusers"
    progress(f"whole picture: {verdict}, {reached}")
    return msgspec.structs.replace(report, image=image)


def draw_reference(
    folder: Path,
    manifest: Manifest,
    prepared: Mapping[str, Prepared],
    settings: Settings,
    inputs: Inputs = NO_INPUTS,
) -> Drawn:
    """Draws with diffusers' pipeline over networks with the given weights, in float32.

    Tokenizer and scheduler are diffusers' own, made from the bundle's files.

    Raises:
        VerificationError: its latents hold NaN or infinite values.
    """
    networks = _reference_networks(prepared)
    scheduler: Any = DDIMScheduler.from_config(dict(read_json(folder / manifest.scheduler)))
    if settings.task in textless_picture.TASKS:
        with _without_warnings():
            drawn = Drawn(*textless_picture.draw(networks, scheduler, settings, inputs))
    elif manifest.conditioning is not None:
        with _without_warnings():
            drawn = Drawn(
                *sdxl_picture.draw(folder, manifest, networks, scheduler, settings, inputs)
            )
    else:
        drawn = _drawn_from_text(_from_text(folder, manifest, networks, scheduler), settings)
    for index, found in enumerate(drawn.latents):
        if not np.isfinite(found).all():
            raise VerificationError(
                f"diffusers itself gives NaN or infinite latents at step {index + 1} of "
                f"{len(drawn.latents)}, so there is no picture to compare with; verify the "
                "components alone."
            )
    return drawn


def _drawn_from_text(pipe: Any, settings: Settings) -> Drawn:
    latents: list[Array] = []

    def keep(pipe: Any, index: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        del pipe, index, timestep
        latents.append(given["latents"].numpy().copy())
        return given

    drawn = pipe(
        settings.prompt[0],
        negative_prompt=settings.negative_prompt[0],
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        height=settings.height,
        width=settings.width,
        generator=torch.Generator().manual_seed(settings.seed),
        output_type="np",
        callback_on_step_end=keep,
    )
    return Drawn(cast("Array", drawn.images), tuple(latents))


def draw_bundle(
    folder: Path,
    manifest: Manifest,
    settings: Settings,
    inputs: Inputs = NO_INPUTS,
    *,
    device: str | None = None,
) -> Drawn:
    """Draws with the runtime: a portable bundle lowered in memory, another by its own engine.

    Args: as of `draw_reference` and `with_image`.
    """
    bundle = Bundle(folder, manifest)
    latents: list[Array] = []

    def keep(step: Preview) -> None:
        latents.append(step.latents.copy())

    where = verifying_device(manifest) if device is None else device
    with _pipeline(bundle, where) as pipe:
        images = pipe.run(settings, inputs, output_type="np", callback=keep).images
    return Drawn(cast("Array", images), tuple(latents))


def compare(
    settings: Settings,
    reference: Drawn,
    found: Drawn,
    threshold_db: float,
    seconds: tuple[float, float],
) -> ImageReport:
    """Compares two pictures and the latents on the way to them, step by step.

    Args:
        settings: with which both were drawn.
        reference: diffusers'.
        found: the runtime's, of the same shapes.
        threshold_db: what picture and last latents must reach. The latents too, since a picture
            that is clipped to black and white hides what they show.
        seconds: what the reference and the runtime took.
    """
    pairs = list(zip(reference.latents, found.latents, strict=True))
    steps = [_psnr_db(a, b, float(np.abs(a).max())) for a, b in pairs]
    departing = [n for n, db in enumerate(steps, 1) if db is not None and db < threshold_db]
    psnr_db = _psnr_db(reference.picture, found.picture, 1.0)
    return ImageReport(
        prompt=settings.prompt[0],
        sampler=settings.sampler,
        steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        seed=settings.seed,
        height=settings.height,
        width=settings.width,
        threshold_db=threshold_db,
        psnr_db=psnr_db,
        max_abs=_max_abs(reference.picture, found.picture),
        latents_psnr_db=tuple(steps),
        latents_max_abs=tuple(_max_abs(a, b) for a, b in pairs),
        departs_at=departing[0] if departing else None,
        seconds_reference=round(seconds[0], 3),
        seconds_engine=round(seconds[1], 3),
        passed=all(db is None or db >= threshold_db for db in (psnr_db, steps[-1])),
    )


def _drawing(manifest: Manifest) -> list[str]:
    """The components that a picture takes, in their order."""
    return [name for name in _NETWORKS if name in manifest.components]


def _reference_networks(prepared: Mapping[str, Prepared]) -> dict[str, Any]:
    networks: dict[str, Any] = {
        name: load_network(item.component, item.config, item.weights)
        for name, item in prepared.items()
        if name in _NETWORKS
    }
    vae: Any = networks["vae_decoder"]
    # A bundle's decoder has no weights for these; diffusers takes a device from the first it meets.
    vae.encoder = vae.quant_conv = torch.nn.Identity()
    return networks


def _from_text(
    folder: Path, manifest: Manifest, networks: Mapping[str, Any], scheduler: Any
) -> Any:
    vae = networks["vae_decoder"]
    if vae.config["_class_name"] == VQModel.__name__:
        vae.decode = _without_generator(vae.decode)
    with _without_warnings():
        from diffusers import StableDiffusionPipeline
    pipe: Any = StableDiffusionPipeline(
        vae=vae,
        text_encoder=networks["text_encoder"],
        tokenizer=transformers.CLIPTokenizer.from_pretrained(
            str(folder / manifest.tokenizers["text_encoder"]), local_files_only=True
        ),
        unet=networks["unet"],
        scheduler=scheduler,
        safety_checker=cast("Any", None),
        feature_extractor=cast("Any", None),
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _without_generator(decode: Any) -> Any:
    """Takes the generator that diffusers' pipeline hands its VAE, which `VQModel` doesn't."""

    def call(latents: torch.Tensor, *, return_dict: bool = True, generator: object = None) -> Any:
        del generator
        return decode(latents, return_dict=return_dict)

    return call


@contextmanager
def _without_warnings() -> Generator[None]:
    """Around diffusers' import: transformers warns of torchvision, which no picture here needs."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def _pipeline(bundle: Bundle, device: str) -> Pipeline:
    if bundle.manifest.target is not None:
        return Pipeline.open(bundle, device=device)
    tokenizers = {
        name: ClipTokenizer.open(bundle.path / folder)
        for name, folder in bundle.manifest.tokenizers.items()
    }
    components = [_component(bundle, name) for name in _drawing(bundle.manifest)]
    origin = Origin(
        bundle_sha256="", engine="onnxruntime", device="cpu", threads=None, latedge_version=VERSION
    )
    return Pipeline(bundle, loaded_parts(tokenizers, components), origin)


def _component(bundle: Bundle, name: str) -> Component:
    """A component of a portable bundle, lowered in memory."""
    graph = bundle.graph(name)
    inputs = {port.role: port for port in graph.inputs}
    outputs = {port.role: port for port in graph.outputs}
    return Component(name, open_lowered(bundle.path, graph), inputs, outputs[_NETWORKS[name]])


def _threshold_db(manifest: Manifest) -> float:
    graphs = [manifest.components[name].graphs["model"] for name in _drawing(manifest)]
    schemes = [graph.compression for graph in graphs if graph.compression is not None]
    if schemes:
        return min(asked_db(PICTURES_DB, scheme) for scheme in schemes)
    stored = {graph.precision for graph in graphs}
    # A portable bundle holds the source's weights as torch takes them.
    return THRESHOLDS_DB["fp32" if manifest.target is None or stored == {"fp32"} else "fp16"]


def _psnr_db(reference: Array, found: Array, peak: float) -> float | None:
    """PSNR in dB; None where the two are equal."""
    error = float(np.mean((reference.astype(np.float64) - found) ** 2))
    return None if error == 0 else 10 * math.log10(max(peak, 1e-30) ** 2 / error)


def _max_abs(reference: Array, found: Array) -> float:
    return float(np.abs(reference - found).max())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
