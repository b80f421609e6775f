"""A call's pictures, each read and hashed once, however many steps of the call look at it."""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import UsageError
from runtimes.image_latents import count_latents
from runtimes.inputs import Inputs
from runtimes.picture_input import Read, read_depth_maps, read_masks, read_pictures, sha256
from runtimes.settings import Settings

Floats = NDArray[np.float32]

LATENTS = ("latents", "image_latents")
"""Fields of `Inputs` that hold latents."""


class ReadInputs:
    """Inputs whose pictures are read when they are first asked for.

    One is made for each call, and goes from its checks to its task. What a caller hands over anew
    is read anew: its arrays may have changed.

    Attributes:
        given: as the call was given them; its arrays are not read.
    """

    def __init__(self, given: Inputs) -> None:
        """See `ReadInputs.of`."""
        self.given = given

    @classmethod
    def of(cls, inputs: Inputs | ReadInputs) -> ReadInputs:
        """Inputs that may have been read already."""
        return inputs if isinstance(inputs, ReadInputs) else cls(inputs)

    @cached_property
    def image(self) -> tuple[Read, ...]:
        """As `read_pictures` gives them; none where none was given. Raises: as it does."""
        return () if self.given.image is None else read_pictures(self.given.image)

    @cached_property
    def mask_image(self) -> tuple[Image.Image, ...]:
        """As `read_masks` gives them; none where none was given. Raises: as it does."""
        return () if self.given.mask_image is None else read_masks(self.given.mask_image)

    @cached_property
    def depth_map(self) -> tuple[Floats, ...]:
        """As `read_depth_maps` gives them; none where none was given. Raises: as it does."""
        return () if self.given.depth_map is None else read_depth_maps(self.given.depth_map)

    @property
    def count(self) -> int:
        """How many pictures, or latents of pictures, are changed; 0 for none."""
        return len(self.image) or count_latents(self.given)

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Of what was given beside the settings, by the field of `Inputs`: `input_sha256`.

        Raises:
            UsageError: a picture isn't taken; says why.
        """
        pictures = {
            "image": self.image,
            "mask_image": self.mask_image,
            "depth_map": self.depth_map,
        }
        found = {name: sha256(read) for name, read in pictures.items() if read}
        for name in LATENTS:
            latents: object = getattr(self.given, name)
            if isinstance(latents, np.ndarray) and _is_floats(cast("NDArray[Any]", latents)):
                found[name] = sha256([cast("NDArray[Any]", latents).astype(np.float32)])
        return found


def _is_floats(array: NDArray[Any]) -> bool:
    # Latents of another type are refused where their shape is known.
    return np.issubdtype(array.dtype, np.floating)


def check_same(settings: Settings, inputs: ReadInputs) -> None:
    """Refuses pictures and latents that settings weren't made for.

    Raises:
        UsageError: says which.
    """
    found, made_for = inputs.sha256, settings.input_sha256
    for name in sorted(found.keys() | made_for.keys()):
        if found.get(name) != made_for.get(name):
            given = "another one" if name in found else "none"
            raise UsageError(
                f"these settings were made for {_told(name, made_for.get(name))} as {name}, and "
                f"{given} was given; give the same, or call the pipeline anew."
            )


def _told(name: str, digest: str | None) -> str:
    what = "values" if name in LATENTS else "pixels"
    return "none" if digest is None else f"{what} of SHA-256 {digest[:12]}…"
