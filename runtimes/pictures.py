"""From the VAE decoder's output to pictures on disk: value range, Pillow, PNG with its settings."""

from __future__ import annotations

import contextlib
import io
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def to_unit(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """The decoder's output in [-1, 1], [n, 3, H, W], as values in [0, 1], [n, H, W, 3]."""
    unit = (sample * np.float32(0.5) + np.float32(0.5)).transpose(0, 2, 3, 1)
    return np.clip(unit, np.float32(0), np.float32(1), order="C")


def to_uint8(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Values in [0, 1] as bytes, rounded to the nearest (halves to the even one, as diffusers)."""
    return np.round(unit * 255).astype(np.uint8)


def to_pillow(unit: NDArray[np.float32]) -> list[Image.Image]:
    """Pictures [n, H, W, 3] with values in [0, 1] as Pillow images of mode RGB."""
    return [Image.fromarray(np.ascontiguousarray(picture)) for picture in to_uint8(unit)]


def png_bytes(image: Image.Image, texts: Mapping[str, str]) -> bytes:
    """A picture as PNG.

    Args:
        image: the picture.
        texts: text chunks by keyword; tEXt where Latin-1 holds the text, else iTXt.
    """
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_text(keyword, text)
    file = io.BytesIO()
    image.save(file, format="PNG", pnginfo=chunks)
    return file.getvalue()


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all; what was there before stays until then.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full.
    """
    # Beside its place, because a rename is whole on one file system alone.
    partial = path.with_name(f".latedge-{secrets.token_hex(8)}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as e:
        # A full disk doesn't say which file, and nobody knows the partial one.
        raise OSError(e.errno, e.strerror, str(path)) from e
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
