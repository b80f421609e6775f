"""Options that go with pictures: which fit together, and what they are where nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from runtimes.bundle import Bundle
from runtimes.checks import check_count, check_number, check_share
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.latents import MAX_PIXELS
from runtimes.options import Options
from runtimes.tasks.upscaling import check_noise_level

STRENGTHS: Mapping[str, float] = {
    "image-to-image": 0.8,
    "inpainting": 1.0,
    "depth-to-image": 0.8,
}
"""Task that begins with a picture → diffusers' default of `strength`."""
SDXL_STRENGTHS: Mapping[str, float] = {"image-to-image": 0.3, "inpainting": 0.9999}
"""Those of SDXL's pipelines."""

MAX_BLUR = 1000.0
"""Pixels: the radius of a Gaussian that softens a mask."""


class PictureFields(TypedDict):
    """The fields of `Settings` that `settle_pictures` settles."""

    strength: float | None
    mask_blur: float
    padding_mask_crop: int | None
    noise_level: int | None


def settle_pictures(bundle: Bundle, task: str, inputs: Inputs, options: Options) -> PictureFields:
    """Checks options that go with pictures and fills in those that are absent.

    Args:
        bundle: which model's defaults are taken.
        task: that was picked.
        inputs: of the call.
        options: of the call.

    Raises:
        UsageError: a value is out of range, or goes with something that wasn't given.
    """
    for name in ("mask_blur", "padding_mask_crop"):
        value = options.get(name)
        if value is not None and inputs.mask_image is None:
            raise UsageError(
                f"{name} {value} goes with a mask_image, and none was given; give one, or leave "
                f"{name} out."
            )
    blur, padding = options.get("mask_blur"), options.get("padding_mask_crop")
    return {
        "strength": _strength(bundle, task, inputs, options),
        "mask_blur": 0.0 if blur is None else check_number("mask_blur", blur, 0, MAX_BLUR),
        "padding_mask_crop": (
            None if padding is None else check_count("padding_mask_crop", padding, MAX_PIXELS, 0)
        ),
        "noise_level": check_noise_level(task, options.get("noise_level")),
    }


def _check_taken_over(task: str, inputs: Inputs, start: float, strength: float | None) -> None:
    if strength is not None:
        raise UsageError(
            f"denoising_start {start} and strength {strength} both say where sampling begins; "
            "leave one out."
        )
    if task != "image-to-image" or inputs.image_latents is None:
        raise UsageError(
            f"denoising_start {start} goes on from latents with the noise that is left in them: "
            "give image_latents, and no picture."
        )


def _strength(bundle: Bundle, task: str, inputs: Inputs, options: Options) -> float | None:
    value, start = options.get("strength"), options.get("denoising_start")
    strengths = STRENGTHS if bundle.manifest.conditioning is None else SDXL_STRENGTHS
    if start is not None:
        _check_taken_over(task, inputs, start, value)
    if value is None:
        return None if start is not None else strengths.get(task)
    if task not in STRENGTHS:
        how = "give an image, or leave strength out" if inputs.image is None else "leave it out"
        raise UsageError(
            f"strength {value} says how much of an image is changed, but {task} begins with noise "
            f"alone; {how}."
        )
    return check_share("strength", value)
