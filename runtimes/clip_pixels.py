"""A picture as CLIP's image encoder takes it, as transformers' `CLIPImageProcessor` prepares it.

Equal to transformers 5.23's Pillow variant value by value. Its torchvision variant resizes with
another filter and differs from both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.errors import LatedgeError

FILE_NAMES = ("preprocessor_config.json", "processor_config.json")
"""Where the settings lie; the second is transformers' from 5.0 on, under `image_processor`."""

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

Size = int | dict[str, int]


class ClipPixels(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of an image processor; the defaults are CLIP's.

    Attributes:
        do_resize: whether the picture is resized.
        size: of the shorter side as a number or `{"shortest_edge": n}`, or `{"height": h,
            "width": w}`.
        resample: Pillow's filter by number; 3 is bicubic.
        do_center_crop: whether its middle is cut out, zeros around it where it is smaller.
        crop_size: a number, or `{"height": h, "width": w}`.
        do_rescale: whether bytes are multiplied.
        rescale_factor: by this.
        do_normalize: whether mean and deviation are taken off.
        image_mean: of red, green and blue.
        image_std: likewise.
    """

    do_resize: bool = True
    size: Size = msgspec.field(default_factory=lambda: {"shortest_edge": 224})
    resample: int = 3
    do_center_crop: bool = True
    crop_size: Size = 224
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float] = _MEAN
    image_std: tuple[float, float, float] = _STD

    @classmethod
    def read(cls, folder: Path) -> ClipPixels:
        """Reads the settings in a CLIP folder.

        Raises:
            LatedgeError: they are missing, can't be read or aren't supported; names the file.
        """
        path = next((folder / name for name in FILE_NAMES if (folder / name).is_file()), None)
        if path is None:
            raise LatedgeError(f"{folder / FILE_NAMES[0]} is missing; download the whole folder.")
        try:
            found = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            nested = found.get("image_processor")
            settings = msgspec.convert(nested if isinstance(nested, dict) else found, type=cls)
        except OSError as e:
            raise LatedgeError(f"{path} can't be read: {e.strerror}.") from e
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise LatedgeError(f"{path} has no settings of a CLIP image processor: {e}.") from e
        settings._check(path)
        return settings

    @property
    def result_sides(self) -> tuple[int, int] | None:
        """Height and width of every prepared picture; None where they follow the picture's."""
        if self.do_center_crop:
            return _sides(self.crop_size)
        square = isinstance(self.size, dict) and "height" in self.size
        return _sides(self.size) if self.do_resize and square else None

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Prepares a picture.

        Args:
            picture: uint8 [H, W, 3].

        Returns:
            float32 [3, h, w].
        """
        found = picture
        if self.do_resize:
            height, width = self._resized(*found.shape[:2])
            resized = Image.fromarray(found).resize(
                (width, height), Image.Resampling(self.resample)
            )
            found = np.asarray(resized)
        if self.do_center_crop:
            found = _center_crop(found, *_sides(self.crop_size))
        values = found.astype(np.float32)
        if self.do_rescale:
            values = (found.astype(np.float64) * self.rescale_factor).astype(np.float32)
        if self.do_normalize:
            mean = np.array(self.image_mean, np.float32)
            values = (values - mean) / np.array(self.image_std, np.float32)
        return np.ascontiguousarray(values.transpose(2, 0, 1))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after resizing: the longer side is cut off to whole pixels."""
        if isinstance(self.size, dict) and "height" in self.size:
            return _sides(self.size)
        short = self.size if isinstance(self.size, int) else self.size["shortest_edge"]
        long = int(short * max(height, width) / min(height, width))
        return (long, short) if height > width else (short, long)

    def _check(self, path: Path) -> None:
        square = {"height", "width"}
        sizes: tuple[tuple[str, Size, tuple[set[str], ...]], ...] = (
            ("size", self.size, ({"shortest_edge"}, square)),
            ("crop_size", self.crop_size, (square,)),
        )
        for name, size, forms in sizes:
            sides = size if isinstance(size, dict) else dict.fromkeys(square, size)
            if sides.keys() not in forms or min(sides.values()) < 1:
                known = " or ".join(" and ".join(sorted(form)) for form in forms)
                raise LatedgeError(f"{path}: {name} is {size!r}; read are a number, or {known}.")
        if self.resample not in list(Image.Resampling):
            raise LatedgeError(
                f"{path}: resample is {self.resample}; Pillow's filters are 0 to "
                f"{max(Image.Resampling).value}."
            )


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size["height"], size["width"])


def _center_crop(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    pads: list[tuple[int, int]] = []
    for side, wanted in zip(picture.shape[:2], (height, width), strict=True):
        missing = max(wanted - side, 0)
        before = -(-missing // 2)
        pads.append((before, missing - before))
    padded = np.pad(picture, (*pads, (0, 0)))
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    return padded[top : top + height, left : left + width]
