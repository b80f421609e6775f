"""Pictures and masks for the networks, against diffusers' own image processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from runtimes.errors import UsageError
from runtimes.preprocess import check_sizes, floored, to_cells, to_mask, to_sample

PICTURES = VaeImageProcessor(vae_scale_factor=8)
MASKS = VaeImageProcessor(
    vae_scale_factor=8, do_normalize=False, do_binarize=True, do_convert_grayscale=True
)
RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(16, 24), (40, 32), (23, 77), (8, 8)])
def test_pictures_equal_the_references(size: tuple[int, int]) -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (40, 32, 3), dtype=np.uint8))
    height, width = (floored(side, 8) for side in size)
    expected = PICTURES.preprocess(image, height=height, width=width)[0]
    found = to_sample(image, height, width)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.numpy())


def test_size_of_a_picture_is_the_references() -> None:
    image = Image.fromarray(RANDOM.integers(0, 256, (45, 33, 3), dtype=np.uint8))
    assert (floored(45, 8), floored(33, 8)) == PICTURES.get_default_height_width(image)


def test_floats_equal_the_references() -> None:
    picture = RANDOM.random((16, 24, 3)).astype(np.float32)
    expected = PICTURES.preprocess(picture)[0]
    np.testing.assert_array_equal(to_sample(picture, 16, 24), expected.numpy())


@pytest.mark.parametrize("mode", ["L", "1"])
@pytest.mark.parametrize("size", [(16, 24), (40, 32), (64, 48)])
def test_masks_equal_the_references(mode: str, size: tuple[int, int]) -> None:
    mask = Image.fromarray(RANDOM.integers(0, 256, (40, 32), dtype=np.uint8)).convert(mode)
    expected = MASKS.preprocess(mask, height=size[0], width=size[1])
    found = to_mask(mask, *size)
    np.testing.assert_array_equal(found, expected[0].numpy())
    assert 0 < found.mean() < 1
    cells = torch.nn.functional.interpolate(expected, size=(size[0] // 8, size[1] // 8))
    np.testing.assert_array_equal(to_cells(found, 8), cells[0].numpy())


def test_half_white_is_white() -> None:
    mask = Image.fromarray(np.array([[127, 128]], np.uint8))
    np.testing.assert_array_equal(to_mask(mask, 1, 2), [[[0, 1]]])


def test_floats_of_another_size_are_refused() -> None:
    image = Image.new("RGB", (8, 8))
    check_sizes([image, np.zeros((16, 24, 3), np.float32)], 16, 24)
    with pytest.raises(UsageError, match="is an array of floats for 24×16, where 8×8 is made; arr"):
        check_sizes([image, np.zeros((16, 24, 3), np.float32)], 8, 8)
