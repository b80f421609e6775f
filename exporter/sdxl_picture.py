"""diffusers' picture of an SDXL base or refiner: what `exporter.verify_image` compares with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from numpy.typing import NDArray

from exporter.families.sdxl import SDXL_REFINER
from runtimes.inputs import Inputs
from runtimes.latents import latent_shape
from runtimes.manifest import Manifest
from runtimes.noise import Generator
from runtimes.options import Options
from runtimes.settings import Settings

Array = NDArray[Any]

STRENGTH = 0.6
"""Of a refiner, which begins with latents: it makes three steps of five."""


def inputs_of(manifest: Manifest) -> Inputs:
    """What a call of the bundle is given: nothing, or latents of noise for a refiner.

    Latents, not a picture, so that no VAE encoder is taken.
    """
    if manifest.family != SDXL_REFINER.name:
        return Inputs()
    sides = (manifest.defaults.height, manifest.defaults.width)
    return Inputs(image_latents=Generator(1).randn(latent_shape(manifest.latents, 1, *sides)))


def options_of(manifest: Manifest) -> Options:
    """What a call of the bundle is told beside that: the base alone, where it has a refiner too."""
    if manifest.family == SDXL_REFINER.name:
        return Options(strength=STRENGTH)
    return Options() if manifest.refiner is None else Options(refiner_start=1.0)


def draw(
    folder: Path,
    manifest: Manifest,
    networks: Mapping[str, Any],
    scheduler: Any,
    settings: Settings,
    inputs: Inputs,
) -> tuple[Array, tuple[Array, ...]]:
    """Draws with diffusers' pipeline of the settings' task.

    Args:
        folder: the bundle, whose tokenizers are taken.
        manifest: its manifest.
        networks: "unet", "vae_decoder" and the text encoders.
        scheduler: diffusers'.
        settings: of the call.
        inputs: those of `inputs_of`.

    Returns:
        The picture, float32 [1, height, width, 3] in [0, 1], and the latents after each step.
    """
    latents: list[Array] = []

    def keep(pipe: Any, index: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        del pipe, index, timestep
        latents.append(given["latents"].numpy().copy())
        return given

    pipe = _pipeline(folder, manifest, networks, scheduler)
    drawn = pipe(
        settings.prompt[0],
        # The empty text is not the same as nothing said, for which zeros may stand.
        negative_prompt=None if settings.zero_negative else settings.negative_prompt[0],
        num_inference_steps=settings.num_inference_steps,
        guidance_scale=settings.guidance_scale,
        generator=torch.Generator().manual_seed(settings.seed),
        output_type="np",
        callback_on_step_end=keep,
        **_beginning(settings, inputs),
    )
    return drawn.images, tuple(latents)


def _beginning(settings: Settings, inputs: Inputs) -> dict[str, Any]:
    if inputs.image_latents is None:
        return {"height": settings.height, "width": settings.width}
    return {"image": torch.from_numpy(inputs.image_latents), "strength": settings.strength}


def _pipeline(folder: Path, manifest: Manifest, networks: Mapping[str, Any], scheduler: Any) -> Any:
    from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

    conditioning = manifest.conditioning
    assert conditioning is not None
    tokenizers = {
        name: transformers.CLIPTokenizer.from_pretrained(str(folder / path), local_files_only=True)
        for name, path in manifest.tokenizers.items()
    }
    parts: dict[str, Any] = {
        "vae": networks["vae_decoder"],
        "text_encoder": networks.get("text_encoder"),
        "text_encoder_2": networks["text_encoder_2"],
        "tokenizer": tokenizers.get("text_encoder"),
        "tokenizer_2": tokenizers["text_encoder_2"],
        "unet": networks["unet"],
        "scheduler": scheduler,
        "force_zeros_for_empty_prompt": conditioning.force_zeros_for_empty_prompt,
        "add_watermarker": False,
    }
    if manifest.family == SDXL_REFINER.name:
        scored = conditioning.requires_aesthetics_score
        pipe: Any = StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=scored)
    else:
        pipe = StableDiffusionXLPipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe
