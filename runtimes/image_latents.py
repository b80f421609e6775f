"""Latents of a picture, such as `Result.latents`, that a caller gives in the picture's place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError
from runtimes.inputs import Inputs


def count_latents(inputs: Inputs) -> int:
    """How many pictures' latents a call was given; 0 for what `read_image_latents` refuses."""
    given: object = inputs.image_latents
    return len(given) if isinstance(given, np.ndarray) and given.ndim == 4 else 0


def read_image_latents(given: object, channels: int, multiple: int = 1) -> NDArray[np.float32]:
    """Checks a picture's latents, and gives them in float32.

    Args:
        given: [n, channels, h, w], in the U-Net's scale.
        channels: of the bundle's latents.
        multiple: what height and width are multiples of.

    Raises:
        UsageError: not an array of floats, of another shape, or not finite.
    """
    if not isinstance(given, np.ndarray):
        raise UsageError(f"image_latents must be a NumPy array, not {type(given).__name__}.")
    array: NDArray[np.generic] = given  # pyright: ignore[reportUnknownVariableType]
    if not np.issubdtype(array.dtype, np.floating):
        raise UsageError(f"image_latents must be of a float type, not {array.dtype}.")
    if array.ndim != 4 or 0 in array.shape or array.shape[1] != channels:
        raise UsageError(
            f"image_latents have shape {list(array.shape)}, not [pictures, {channels}, h, w]."
        )
    height, width = array.shape[2:]
    if height % multiple or width % multiple:
        raise UsageError(
            f"image_latents are of {width}×{height} cells; each side must be a multiple of "
            f"{multiple}."
        )
    found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise UsageError("image_latents hold NaN or infinite values.")
    return found
