"""Options that go with pictures: which fit together, and what they are where nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.checks import check_count, check_number, check_seed, check_share
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.latents import MAX_PIXELS
from runtimes.options import Options

STRENGTHS: Mapping[str, float] = {
    "image-to-image": 0.8,
    "inpainting": 1.0,
    "depth-to-image": 0.8,
}
"""Task that begins with a picture → diffusers' default of `strength`."""

MAX_BLUR = 1000.0
"""Pixels: the radius of a Gaussian that softens a mask."""


@dataclass(frozen=True)
class PictureFields:
    """The fields of `Settings` that `settle_options` settles."""

    strength: float | None
    mask_blur: float
    padding_mask_crop: int | None
    variation_seed: int | None
    variation_strength: float


def settle_options(task: str, inputs: Inputs, options: Options) -> PictureFields:
    """Checks options that go with pictures and fills in those that are absent.

    Args:
        task: that was picked.
        inputs: of the call.
        options: of the call.

    Raises:
        UsageError: a value is out of range, or goes with something that wasn't given.
    """
    strength, blur = options.get("strength"), options.get("mask_blur")
    padding = options.get("padding_mask_crop")
    if strength is not None and task not in STRENGTHS:
        raise UsageError(
            f"strength {strength} says how much of an image is changed, but {task} changes none; "
            "give an image, or leave strength out."
        )
    for name, value in (("mask_blur", blur), ("padding_mask_crop", padding)):
        if value is not None and inputs.mask_image is None:
            raise UsageError(
                f"{name} {value} goes with a mask_image, and none was given; give one, or leave "
                f"{name} out."
            )
    seed, share = _variation(
        inputs, options.get("variation_seed"), options.get("variation_strength")
    )
    strength = STRENGTHS.get(task) if strength is None else check_share("strength", strength)
    return PictureFields(
        strength=strength,
        mask_blur=0.0 if blur is None else check_number("mask_blur", blur, 0, MAX_BLUR),
        padding_mask_crop=(
            None if padding is None else check_count("padding_mask_crop", padding, MAX_PIXELS, 0)
        ),
        variation_seed=seed,
        variation_strength=share,
    )


def _variation(
    inputs: Inputs, seed: int | None, strength: float | None
) -> tuple[int | None, float]:
    if strength is None:
        if seed is not None:
            raise UsageError(
                f"variation_seed {seed} needs a variation_strength: from 0, the seed's own "
                "picture, to 1, the variation_seed's."
            )
        return None, 0.0
    share = check_share("variation_strength", strength)
    if inputs.latents is not None:
        raise UsageError(
            "variation_strength mixes the noise of two seeds, but latents were given in their "
            "place; mix those yourself with latedge.slerp, or leave them out."
        )
    found = check_seed(seed, "variation_seed")
    # At 0 it plays no part: not in the picture, and not in what the picture says of itself.
    return (found, share) if share else (None, 0.0)
