"""What a call of the pipeline gives: pictures at its end, previews on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import LatedgeError, UsageError
from runtimes.metadata import Origin, png_texts
from runtimes.pictures import png_bytes, write_whole
from runtimes.settings import Settings
from runtimes.timings import Timings

Floats = NDArray[np.float32]


class Cancelled(LatedgeError):  # noqa: N818 (asked for, not an error)
    """The callback asked to stop."""


@dataclass(frozen=True)
class Preview:
    """How far a call is, for its callback.

    Attributes:
        index: which step was just done, from 0.
        total: how many there are; samplers may make a few more than were asked for.
        timestep: what the U-Net was told.
        latents: after the step, in the sampler's own scaling: [n, channels, h, w].
        denoised: the estimate of the finished latents, of the same shape.
        decode: the VAE decoder: latents to Pillow images.
    """

    index: int
    total: int
    timestep: float
    latents: Floats
    denoised: Floats
    decode: Callable[[Floats], list[Image.Image]]

    def picture(self, image: int = 0) -> Image.Image:
        """What one picture would be by the present estimate; costs a call of the VAE decoder.

        Args:
            image: which of the n pictures.
        """
        return self.decode(self.denoised[image][np.newaxis])[0]


@dataclass(frozen=True)
class Result:
    """The pictures of a call.

    Attributes:
        images: Pillow images; with output_type "np" values in [0, 1], float32 [n, H, W, 3]; with
            "latent" the latents.
        latents: at the end of the sampler, before the VAE: [n, channels, h, w].
        settings: all that was asked, defaults filled in.
        origin: what made the pictures.
        timings: milliseconds by stage.
        peak_rss_bytes: the most memory that the process held until the call's end; None where the
            system doesn't tell.
        first: which of all the settings' pictures `images` begins with.
    """

    images: list[Image.Image] | Floats
    latents: Floats
    settings: Settings
    origin: Origin
    timings: Timings
    peak_rss_bytes: int | None = None
    first: int = 0

    @property
    def seed(self) -> int:
        """Of the noise; drawn from the system where the caller gave none."""
        return self.settings.seed

    def picture(self, index: int) -> Result:
        """This result with one of its pictures alone, which keeps what it says of itself."""
        return replace(
            self,
            images=self.images[index : index + 1],
            latents=self.latents[index : index + 1],
            first=self.first + index,
        )

    def save(self, path: Path | str) -> list[Path]:
        """Writes the pictures as PNG with their settings in the text chunks.

        Args:
            path: of the one picture; several become name-0.png, name-1.png, …

        Returns:
            The paths written, in order.

        Raises:
            UsageError: the images aren't Pillow images, or the path is no place for a PNG.
            OSError: a file can't be written; it is then as it was before.
        """
        images = self.images
        if not isinstance(images, list):
            raise UsageError('only pictures of output_type "pil" can be saved.')
        paths = picture_paths(Path(path), len(images))
        for index, (image, place) in enumerate(zip(images, paths, strict=True), self.first):
            texts = png_texts(self.settings, self.origin, index)
            write_whole(place, png_bytes(image, texts))
        return paths


def check_writable(path: Path) -> None:
    """Refuses a path in whose folder nothing can be written; leaves nothing there.

    Raises:
        UsageError: says why.
    """
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as e:
        raise UsageError(
            f"{path} can't be written: no file can be made in {path.parent}: {e.strerror or e}."
        ) from e


def picture_paths(path: Path, count: int) -> list[Path]:
    """Where `count` pictures are written: at the path itself, or numbered from 0.

    Raises:
        UsageError: not a .png, or its folder doesn't exist, or a folder is there.
    """
    if path.suffix.lower() != ".png":
        raise UsageError(f"pictures are written as PNG: {path} must end in .png.")
    if not path.parent.is_dir():
        raise UsageError(f"{path} can't be written: the folder {path.parent} does not exist.")
    paths = [path] if count == 1 else [path.with_stem(f"{path.stem}-{i}") for i in range(count)]
    for place in paths:
        if place.is_dir():
            raise UsageError(f"{place} can't be written: a folder is there.")
    return paths
