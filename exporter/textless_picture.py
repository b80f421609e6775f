"""diffusers' picture of a model that takes no text: what `exporter.verify_image` compares with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.manifest import Manifest
from runtimes.settings import Settings
from runtimes.tasks.super_resolution import MULTIPLE

Array = NDArray[Any]

TASKS = ("unconditional", "super-resolution")


def inputs_of(manifest: Manifest) -> Inputs:
    """What a call of the bundle is given: nothing, or a small picture of rings and a ramp."""
    if "super-resolution" not in manifest.tasks:
        return Inputs()
    factor = manifest.latents.vae_factor
    sides = (manifest.defaults.height, manifest.defaults.width)
    height, width = (max(MULTIPLE, side // factor // MULTIPLE * MULTIPLE) for side in sides)
    down, across = np.mgrid[:height, :width] / MULTIPLE
    rings = np.sin(20 * np.hypot(down - 0.4, across - 0.6)) / 2 + 0.5
    levels = np.stack([rings, down % 1, across % 1], axis=2)
    return Inputs(image=Image.fromarray((255 * levels).astype(np.uint8)))


def draw(
    networks: Mapping[str, Any], scheduler: Any, settings: Settings, inputs: Inputs
) -> tuple[Array, tuple[Array, ...]]:
    """Draws with diffusers' pipeline of the settings' task.

    Args:
        networks: "unet" and "vae_decoder", the latter without its encoder.
        scheduler: diffusers'.
        settings: of the call.
        inputs: those of `inputs_of`.

    Returns:
        The picture, float32 [1, height, width, 3] in [0, 1], and the latents after each step.

    Raises:
        UsageError: the pipeline can't draw a picture of such a size.
    """
    kept: list[Array] = []
    step = scheduler.step

    def watched(*args: Any, **kwargs: Any) -> Any:
        found = step(*args, **kwargs)
        kept.append(found.prev_sample.numpy().copy())
        return found

    scheduler.step = watched
    parts: dict[str, Any] = {
        "vqvae": networks["vae_decoder"],
        "unet": networks["unet"],
        "scheduler": scheduler,
    }
    given: dict[str, Any] = {}
    if settings.task == "super-resolution":
        from diffusers import (
            LDMSuperResolutionPipeline as Pipeline,  # pyright: ignore[reportPrivateImportUsage]
        )

        given["image"] = inputs.image
    else:
        from diffusers import (
            LDMPipeline as Pipeline,  # pyright: ignore[reportPrivateImportUsage]
        )

        networks["unet"].register_to_config(sample_size=_side(networks, settings))
    pipe: Any = Pipeline(**parts)
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        num_inference_steps=settings.num_inference_steps,
        generator=torch.Generator().manual_seed(settings.seed),
        output_type="np",
        **given,
    )
    return drawn.images, tuple(kept)


def _side(networks: Mapping[str, Any], settings: Settings) -> int:
    """Cells of a side, which `LDMPipeline` has one number for."""
    if settings.height != settings.width:
        raise UsageError(
            f"whole pictures are compared with diffusers' LDMPipeline, which draws squares alone, "
            f"and this bundle draws {settings.width}×{settings.height}: verify its components "
            "alone."
        )
    levels = len(networks["vae_decoder"].config.block_out_channels)
    return settings.height // 2 ** (levels - 1)
