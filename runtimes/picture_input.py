"""Pictures, masks and depth maps that a caller brings: what is taken, and how it is read.

Nothing is guessed: a mode or a shape that could be meant in two ways is refused, with the way to
convert it. Pictures that a camera turned (EXIF orientation) are set upright first.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from runtimes.errors import UsageError

Floats = NDArray[np.float32]
Read = Image.Image | Floats
"""A picture as it was read: Pillow's, or float32 values."""

PICTURE_MODES = ("RGB", "L", "P")
MASK_MODES = ("L", "1")
DEPTH_MODES = ("L", "I", "F", "I;16", "I;16L", "I;16B")
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")
_HINTS: Mapping[str, str] = {
    "image": 'convert it with image.convert("RGB")',
    "mask_image": 'convert it with mask.convert("L")',
    "depth_map": 'convert it with depth.convert("F")',
}


def open_picture(path: Path, name: str) -> Image.Image:
    """Reads a picture from a file, pixels included.

    Args:
        path: the file.
        name: the argument it is for, as errors name it.

    Raises:
        UsageError: it can't be read, is no picture, or has 16 bits where 8 are taken.
    """
    try:
        with Image.open(path) as image:
            if name != "depth_map":
                _check_bits(image, name)
            image.load()
            return image
    except FileNotFoundError as e:
        raise UsageError(f"{name}: {path} does not exist.") from e
    except UnidentifiedImageError as e:
        raise UsageError(f"{name}: {path} is no picture that Pillow knows.") from e
    except OSError as e:
        raise UsageError(f"{name}: {path} can't be read: {e.strerror or e}.") from e
    except (ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as e:
        raise UsageError(f"{name}: {path} can't be read: {e}.") from e


def read_pictures(given: object) -> tuple[Read, ...]:
    """Pictures as Pillow images of mode RGB, or as float32 values in [0, 1], [H, W, 3].

    Args:
        given: Pillow images of `PICTURE_MODES`; arrays of uint8, or of floats in [0, 1], each
            [H, W, 3], or [n, H, W, 3] for several; or a sequence of those.

    Raises:
        UsageError: anything else: alpha, 16 bits, another shape or range, NaN, none at all.
    """

    def read(each: object) -> Read:
        if isinstance(each, Image.Image):
            return _upright(each, "image", PICTURE_MODES).convert("RGB")
        array = _array(each, "image")
        if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            alpha = ": drop the alpha channel" if array.shape[2:] == (4,) else ""
            raise UsageError(f"image is an array of shape {array.shape}, not [H, W, 3]{alpha}.")
        if array.dtype == np.uint8:
            return Image.fromarray(np.ascontiguousarray(array))
        return _unit(array)

    return tuple(read(each) for each in _each("image", given, 4))


def read_masks(given: object) -> tuple[Image.Image, ...]:
    """Masks as Pillow images of `MASK_MODES`: white is painted anew.

    Args:
        given: Pillow images of those modes; arrays of uint8, of bool or of floats in [0, 1], each
            [H, W], or [n, H, W] for several; or a sequence of those.

    Raises:
        UsageError: anything else.
    """

    def read(each: object) -> Image.Image:
        if isinstance(each, Image.Image):
            return _upright(each, "mask_image", MASK_MODES)
        array = _array(each, "mask_image", bool, np.uint8)
        if array.ndim != 2 or 0 in array.shape:
            raise UsageError(f"mask_image is an array of shape {array.shape}, not [H, W].")
        if array.dtype == bool:
            return Image.fromarray(array.astype(np.uint8) * np.uint8(255))
        if array.dtype != np.uint8:
            array = np.round(_unit(array, "mask_image") * 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(array))

    return tuple(read(each) for each in _each("mask_image", given, 3))


def read_depth_maps(given: object) -> tuple[Floats, ...]:
    """Depth maps as float32 [H, W]: larger is nearer, in any unit.

    Args:
        given: Pillow images of `DEPTH_MODES`, 8 or 16 bits; arrays of numbers, each [H, W], or
            [n, H, W] for several; or a sequence of those.

    Raises:
        UsageError: anything else; or a map that is not finite, or everywhere the same.
    """

    def read(each: object) -> Floats:
        if isinstance(each, Image.Image):
            each = np.asarray(_upright(each, "depth_map", DEPTH_MODES))
        array = _array(each, "depth_map", np.unsignedinteger, np.signedinteger)
        if array.ndim != 2 or 0 in array.shape:
            raise UsageError(f"depth_map is an array of shape {array.shape}, not [H, W].")
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise UsageError("depth_map holds NaN or infinite values.")
        if values.min() == values.max():
            raise UsageError(f"depth_map is {values.flat[0]:g} everywhere; it shows no depth.")
        return values

    return tuple(read(each) for each in _each("depth_map", given, 3))


def size_of(picture: Read) -> tuple[int, int]:
    """Height and width in pixels."""
    if isinstance(picture, Image.Image):
        return picture.height, picture.width
    return picture.shape[0], picture.shape[1]


def sha256(pictures: Iterable[Read]) -> str:
    """Of the pixels of pictures, in order, with their sizes and types; hex."""
    digest = hashlib.sha256()
    for picture in pictures:
        array = np.asarray(picture)
        digest.update(f"{array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _each(name: str, given: object, stacked: int) -> list[object]:
    """The single pictures in what was given; an array of `stacked` axes holds several."""
    if isinstance(given, np.ndarray):
        array = cast("NDArray[Any]", given)
        # Three axes with a last one of 3 are colours, and no masks three pixels wide.
        several = array.ndim == stacked and (stacked == 4 or array.shape[-1] > 4)
        found: list[object] = list(array) if several else [array]
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        found = list(cast("Sequence[object]", given))
    else:
        found = [given]
    if not found:
        raise UsageError(f"{name} holds no picture; give one, or leave it out.")
    return found


def _array(given: object, name: str, *types: type) -> NDArray[Any]:
    if not isinstance(given, np.ndarray):
        raise UsageError(
            f"{name} must be a Pillow image or a NumPy array, or several, not "
            f"{type(given).__name__}."
        )
    array = cast("NDArray[Any]", given)
    taken = (np.floating, *(types or (np.uint8,)))
    if not any(np.issubdtype(array.dtype, each) for each in taken):
        raise UsageError(
            f"{name} is an array of {array.dtype}; taken are uint8 from 0 to 255 and floats from 0 "
            "to 1: divide 16-bit values by 65535."
        )
    return array


def _unit(array: NDArray[Any], name: str = "image") -> Floats:
    values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"{name} holds NaN or infinite values.")
    if values.min() < 0 or values.max() > 1:
        raise UsageError(
            f"{name} holds values from {values.min():g} to {values.max():g}; floats are taken from "
            "0 to 1."
        )
    return values


def _upright(image: Image.Image, name: str, modes: Sequence[str]) -> Image.Image:
    if name != "depth_map":
        _check_bits(image, name)
    if image.mode in _ALPHA_MODES:
        raise UsageError(
            f"{name} has an alpha channel (mode {image.mode}); {_HINTS[name]}, or paste it on a "
            "background first."
        )
    if image.mode in PICTURE_MODES and "transparency" in image.info:
        # Pillow carries the colour along when it converts, but not by way of RGBA.
        raise UsageError(
            f"{name} has a colour that is transparent (mode {image.mode}); convert it with "
            f'image.convert("RGBA").convert("{modes[0]}"), or paste it on a background first.'
        )
    if image.mode not in modes:
        raise UsageError(
            f"{name} has mode {image.mode}; taken are {', '.join(modes)}: {_HINTS[name]}."
        )
    return ImageOps.exif_transpose(image)


def _check_bits(image: Image.Image, name: str) -> None:
    """Refuses 16 bits, also those that Pillow would cut off silently on loading (RGB in PNG)."""
    tiles = cast("list[Any]", getattr(image, "tile", []))
    if image.mode.startswith("I;16") or any(";16" in str(tile[3]) for tile in tiles):
        raise UsageError(
            f"{name} has 16 bits a channel, where 8 are taken: save it with 8 bits, or give floats "
            "from 0 to 1."
        )


READERS: Mapping[str, Callable[[object], tuple[Read, ...]]] = {
    "image": read_pictures,
    "mask_image": read_masks,
    "depth_map": read_depth_maps,
}
"""Field of `Inputs` → what reads it."""
