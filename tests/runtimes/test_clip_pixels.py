"""Pictures for CLIP, value by value against transformers' image processor."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from runtimes.clip_pixels import ClipPixels
from runtimes.errors import LatedgeError

SETTINGS: dict[str, dict[str, Any]] = {
    "clip": {},
    "small": {"size": {"shortest_edge": 30}, "crop_size": {"height": 30, "width": 30}},
    "numbers": {"size": 31, "crop_size": 31},
    "crop of a part": {"size": {"shortest_edge": 40}, "crop_size": {"height": 21, "width": 30}},
    "crop with a margin": {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 32}},
    "both sides": {"size": {"height": 24, "width": 37}, "do_center_crop": False},
    "bilinear": {"size": {"shortest_edge": 30}, "crop_size": 30, "resample": 2},
    "not resized": {"do_resize": False, "crop_size": 48},
    "not rescaled": {"size": 30, "crop_size": 30, "do_rescale": False},
    "not normalised": {"size": 30, "crop_size": 30, "do_normalize": False},
    "other numbers": {
        "size": 30,
        "crop_size": 30,
        "rescale_factor": 0.01,
        "image_mean": [0.1, 0.5, 0.9],
        "image_std": [0.2, 1.5, 0.3],
    },
}

SIDES = [(64, 64), (70, 101), (101, 70), (17, 23), (300, 41), (1, 9)]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """Noise over a ramp: every level, sharp edges and smooth parts."""
    stream = np.random.default_rng(height * 1000 + width)
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    noise = stream.integers(0, 256, (height, width, 3))
    return np.where(stream.random((height, width, 1)) < 0.5, ramp, noise).astype(np.uint8)


def write(folder: Path, settings: dict[str, Any], name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.mark.parametrize("settings", SETTINGS)
def test_values_equal_those_of_transformers(tmp_path: Path, settings: str) -> None:
    theirs: Any = CLIPImageProcessorPil.from_pretrained(write(tmp_path, SETTINGS[settings]))
    ours = ClipPixels.read(tmp_path)
    for sides in SIDES:
        given = picture(*sides)
        expected = theirs(Image.fromarray(given), return_tensors="np")["pixel_values"][0]
        found = ours(given)
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        # Bit by bit: the same operations in the same dtypes.
        np.testing.assert_array_equal(found, expected.astype(np.float32), err_msg=str(sides))
        assert np.unique(found).size > 3
    assert "torchvision" not in sys.modules


def test_settings_that_transformers_5_writes_are_read(tmp_path: Path) -> None:
    nested = {"image_processor": {"size": {"shortest_edge": 30}, "crop_size": 28}}
    found = ClipPixels.read(write(tmp_path, nested, "processor_config.json"))
    assert (found.size, found.crop_size) == ({"shortest_edge": 30}, 28)


@pytest.mark.parametrize(
    ("settings", "sides"),
    [
        ({}, (224, 224)),
        ({"crop_size": {"height": 3, "width": 4}}, (3, 4)),
        ({"do_center_crop": False, "size": {"height": 5, "width": 6}}, (5, 6)),
        ({"do_center_crop": False}, None),
        ({"do_center_crop": False, "do_resize": False, "size": {"height": 5, "width": 6}}, None),
    ],
)
def test_result_sides(
    tmp_path: Path, settings: dict[str, Any], sides: tuple[int, int] | None
) -> None:
    pixels = ClipPixels.read(write(tmp_path, settings))
    assert pixels.result_sides == sides
    if sides is not None:
        assert pixels(picture(70, 101)).shape == (3, *sides)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"longest_edge": 30}}, "size is {'longest_edge': 30}; read are a number, or"),
        ({"size": 0}, "size is 0;"),
        ({"crop_size": {"shortest_edge": 30}}, "crop_size is {'shortest_edge': 30}; read are"),
        ({"resample": 99}, "resample is 99; Pillow's filters are 0 to "),
        ({"size": "large"}, "no settings of a CLIP image processor"),
        ({"image_mean": [0.5]}, "no settings of a CLIP image processor"),
    ],
)
def test_settings_are_refused_by_name(
    tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(LatedgeError) as caught:
        ClipPixels.read(write(tmp_path, settings))
    assert message in str(caught.value)
    assert "preprocessor_config.json" in str(caught.value)


def test_missing_and_broken_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(LatedgeError, match=r"preprocessor_config\.json is missing"):
        ClipPixels.read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(b"{")
    with pytest.raises(LatedgeError, match="no settings of a CLIP image processor"):
        ClipPixels.read(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes(b"\xff")
    with pytest.raises(LatedgeError, match="no settings of a CLIP image processor"):
        ClipPixels.read(tmp_path)
