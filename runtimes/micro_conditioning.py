"""What an SDXL U-Net is told of a picture beside its text: sizes, crop, or how it is liked.

D. Podell et al., "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis",
2023, section 2.2, and appendix B for the refiner's aesthetic score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.checks import check_number, is_whole
from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Graph
from runtimes.options import MicroConditioningOptions, names_of
from runtimes.prompts.encoders import UNET
from runtimes.settings import Settings

TIME_IDS = "time_ids"
"""The U-Net's input that takes the numbers."""

SCORES: Mapping[str, float] = {"aesthetic_score": 6.0, "negative_aesthetic_score": 2.5}
"""Of 10; diffusers' defaults."""

MAX_SIZE = 2**16
"""Far above the largest picture of any training set."""

_SIZED, _SCORED = 6, 5
"""How many numbers a U-Net takes: sizes and crop, or size, crop and score."""

Size = tuple[int, int]


class MicroConditioning(TypedDict):
    """Fields of `Settings`; None, all of them, where the U-Net takes none."""

    original_size: Size | None
    crops_coords_top_left: Size | None
    target_size: Size | None
    aesthetic_score: float | None
    negative_original_size: Size | None
    negative_crops_coords_top_left: Size | None
    negative_target_size: Size | None
    negative_aesthetic_score: float | None


_NOTHING: MicroConditioning = {
    "original_size": None,
    "crops_coords_top_left": None,
    "target_size": None,
    "aesthetic_score": None,
    "negative_original_size": None,
    "negative_crops_coords_top_left": None,
    "negative_target_size": None,
    "negative_aesthetic_score": None,
}


def settle_micro_conditioning(
    bundle: Bundle, size: Size, options: MicroConditioningOptions
) -> MicroConditioning:
    """Checks what a call says of its pictures, and fills in what it doesn't say.

    Sizes are by default those of the picture, the crop's corner is (0, 0), and the negative
    branch is told what the other is, but for its score. Its corner stays None where it isn't said.

    Args:
        bundle: whose U-Nets are told.
        size: height and width in pixels.
        options: of the call.

    Raises:
        UsageError: a value is wrong, or no U-Net of the bundle takes it.
        BundleError: a U-Net takes another number of values.
    """
    said = {name: options.get(name) for name in names_of(MicroConditioningOptions)}
    said = {name: value for name, value in said.items() if value is not None}
    scored = {takes_score(bundle, unet) for unet in unets_told(bundle)}
    for name in sorted(said):
        if not scored or (name in SCORES and True not in scored):
            raise UsageError(f"{name} is given, and this bundle's U-Net isn't told any.")
    if not scored:
        return _NOTHING
    original = _size("original_size", said, size)
    target = _size("target_size", said, size)
    return {
        "original_size": original,
        "crops_coords_top_left": _corner("crops_coords_top_left", said) or (0, 0),
        "target_size": target,
        "aesthetic_score": _score("aesthetic_score", said) if True in scored else None,
        "negative_original_size": _size("negative_original_size", said, original),
        "negative_crops_coords_top_left": _corner("negative_crops_coords_top_left", said),
        "negative_target_size": _size("negative_target_size", said, target),
        "negative_aesthetic_score": (
            _score("negative_aesthetic_score", said) if True in scored else None
        ),
    }


def time_ids(settings: Settings, *, scored: bool, negative: bool) -> NDArray[np.float32]:
    """What a U-Net is told, in its order: float32 [6], or [5] where it takes a score.

    Args:
        settings: of a call to an SDXL bundle.
        scored: whether the U-Net takes an aesthetic score in place of the target size.
        negative: whether of the branch of negative prompts.
    """
    prefix = "negative_" if negative else ""
    corner = settings.crops_coords_top_left
    if negative:
        # Where nothing is said, diffusers tells a refiner the picture's corner, and a base what it
        # tells it of the prompts' branch.
        unsaid = (0, 0) if scored else corner
        corner = settings.negative_crops_coords_top_left or unsaid
    last = (
        (getattr(settings, f"{prefix}aesthetic_score"),)
        if scored
        else getattr(settings, f"{prefix}target_size")
    )
    return np.array([*getattr(settings, f"{prefix}original_size"), *(corner or ()), *last], "<f4")


def unets_told(bundle: Bundle) -> list[str]:
    """The U-Nets of a bundle that are told anything of this kind."""
    unets = [name for name in bundle.manifest.components if name.startswith(UNET)]
    return [name for name in unets if _told(bundle.graph(name)) is not None]


def takes_score(bundle: Bundle, unet: str) -> bool:
    """Whether a U-Net that is told takes an aesthetic score, as refiners do.

    Raises:
        BundleError: it takes another number of values than any that is known.
    """
    count = _told(bundle.graph(unet))
    if count not in (_SIZED, _SCORED):
        raise BundleError(
            f"{bundle.path}: {unet} takes {count} {TIME_IDS}, where {_SIZED} (sizes) or {_SCORED} "
            "(with an aesthetic score) are known."
        )
    return count == _SCORED


def _told(unet: Graph) -> int | None:
    for port in unet.inputs:
        if port.role == TIME_IDS:
            count = port.shape[-1] if port.shape else 0
            return count if isinstance(count, int) else 0
    return None


def _size(name: str, said: Mapping[str, Any], default: Size) -> Size:
    return _pair(name, said.get(name, default), least=1)


def _corner(name: str, said: Mapping[str, Any]) -> Size | None:
    return _pair(name, said[name], least=0) if name in said else None


def _pair(name: str, value: object, *, least: int) -> Size:
    sides = cast("Sequence[object]", value) if isinstance(value, tuple | list) else ()
    found = [int(side) for side in sides if is_whole(side) and least <= side <= MAX_SIZE]
    if len(found) == len(sides) == 2:
        return found[0], found[1]
    what = "height and width" if least else "top and left"
    raise UsageError(
        f"{name} must be {what} in whole pixels from {least} to {MAX_SIZE}, not {value!r}."
    )


def _score(name: str, said: Mapping[str, Any]) -> float:
    score = check_number(name, said.get(name, SCORES[name]))
    if not 0 <= score <= 10:
        raise UsageError(f"{name} must be from 0 to 10, not {score:g}.")
    return score
