"""Crop to the mask and back, pixel by pixel against diffusers' own image processor."""

from __future__ import annotations

import numpy as np
import pytest
from diffusers.image_processor import VaeImageProcessor
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtimes.errors import UsageError
from runtimes.mask_crop import Box, crop_box, filled, pasted_back

REFERENCE = VaeImageProcessor(vae_scale_factor=8)
RANDOM = np.random.default_rng(0)


def photo(height: int, width: int) -> Image.Image:
    return Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8))


@given(
    sides=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    shape=st.tuples(st.sampled_from([8, 16, 64, 96]), st.sampled_from([8, 24, 64])),
    ends=st.tuples(*[st.floats(0, 1)] * 4),
    padding=st.integers(0, 70),
)
def test_boxes_equal_the_references(
    sides: tuple[int, int], shape: tuple[int, int], ends: tuple[float, ...], padding: int
) -> None:
    height, width = sides
    (top, bottom), (left, right) = sorted(ends[:2]), sorted(ends[2:])
    values = np.zeros((height, width), np.uint8)
    first = int(top * (height - 1)), int(left * (width - 1))
    values[first[0] : int(bottom * height) + 1, first[1] : int(right * width) + 1] = 1
    mask = Image.fromarray(values)
    expected = REFERENCE.get_crop_region(mask, *shape, pad=padding)
    assert tuple(crop_box(mask, *shape, padding)) == expected


@pytest.mark.parametrize(
    ("box", "width", "height"),
    [
        (Box(3, 4, 33, 34), 64, 64),
        (Box(0, 10, 50, 25), 64, 64),
        (Box(5, 0, 17, 40), 64, 48),
        (Box(0, 0, 50, 40), 40, 50),
        (Box(20, 20, 21, 22), 16, 24),
    ],
)
def test_frames_and_the_way_back_equal_the_references(box: Box, width: int, height: int) -> None:
    picture, mask = photo(40, 50), photo(40, 50).convert("L")
    for each in (picture, mask):
        expected = REFERENCE.resize(each.crop(box), height, width, resize_mode="fill")
        np.testing.assert_array_equal(
            np.asarray(filled(each, box, width, height)), np.asarray(expected)
        )
    painted = photo(height, width)
    back = REFERENCE.apply_overlay(mask, picture, painted, box)
    np.testing.assert_array_equal(
        np.asarray(pasted_back(painted, picture, mask, box)), np.asarray(back)
    )


def test_what_is_black_in_the_mask_is_not_touched() -> None:
    picture, painted = photo(40, 50), photo(64, 64)
    values = np.zeros((40, 50), np.uint8)
    values[10:20, 5:25] = 255
    mask = Image.fromarray(values)
    found = np.asarray(pasted_back(painted, picture, mask, crop_box(mask, 64, 64, 4)))
    np.testing.assert_array_equal(found[values == 0], np.asarray(picture)[values == 0])
    assert (found[values == 255] != np.asarray(picture)[values == 255]).mean() > 0.9


def test_black_masks_are_refused() -> None:
    with pytest.raises(UsageError, match="mask_image is black: it shows nothing to paint anew"):
        crop_box(Image.new("L", (8, 8)), 8, 8, 0)
