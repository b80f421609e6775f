"""Options that go with pictures: which fit together, and what they are where nothing is said."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.checks import check_seed, is_whole
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.latents import MAX_PIXELS
from runtimes.options import Options
from runtimes.picture_input import READERS, Read, sha256

STRENGTHS: Mapping[str, float] = {
    "image-to-image": 0.8,
    "inpainting": 1.0,
    "depth-to-image": 0.8,
}
"""Task that begins with a picture → diffusers' default of `strength`."""

MAX_BLUR = 1000.0

LATENTS = ("latents", "image_latents")
"""Fields of `Inputs` that hold latents."""


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
        mask_blur=_check_real(
            "mask_blur", 0 if blur is None else blur, MAX_BLUR, "a number of pixels"
        ),
        padding_mask_crop=_check_padding(padding),
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


def check_share(name: str, value: object) -> float:
    """A number from 0 to 1.

    Raises:
        UsageError: anything else.
    """
    return _check_real(name, value, 1.0, "a number")


def _check_real(name: str, value: object, most: float, what: str) -> float:
    """A number from 0 to `most`."""
    number = cast("float", value)
    taken = isinstance(value, int | float | np.integer | np.floating)
    found = float(number) if taken and not isinstance(value, bool) else math.nan
    if not 0 <= found <= most:
        raise UsageError(f"{name} must be {what} from 0 to {most:g}, not {value!r}.")
    return found


def _check_padding(value: object) -> int | None:
    if value is None:
        return None
    if not is_whole(value) or not 0 <= int(value) <= MAX_PIXELS:
        raise UsageError(
            f"padding_mask_crop must be a whole number of pixels from 0 to {MAX_PIXELS}, not "
            f"{value!r}."
        )
    return int(value)


def read_inputs(inputs: Inputs) -> dict[str, tuple[Read, ...]]:
    """The pictures of a call by the field of `Inputs`, those that are there.

    Raises:
        UsageError: one isn't taken; says why.
    """
    found = {field.name: getattr(inputs, field.name) for field in fields(inputs)}
    return {
        name: read(found[name]) for name, read in READERS.items() if found.get(name) is not None
    }


def digests(inputs: Inputs, pictures: Mapping[str, tuple[Read, ...]]) -> dict[str, str]:
    """SHA-256 of what a call was given beside its settings, by the field of `Inputs`.

    Args:
        inputs: of the call.
        pictures: of them, as `read_inputs` gives them.
    """
    found = {name: sha256(read) for name, read in pictures.items()}
    for name in LATENTS:
        given: object = getattr(inputs, name)
        if not isinstance(given, np.ndarray):
            continue
        latents = cast("NDArray[Any]", given)
        # Latents of another type are refused where their shape is known.
        if np.issubdtype(latents.dtype, np.floating):
            found[name] = sha256([latents.astype(np.float32)])
    return found
