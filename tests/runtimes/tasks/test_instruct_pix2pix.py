"""InstructPix2Pix over networks that are formulas: what the U-Net sees, and how often."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtimes.errors import BundleError, UsageError
from runtimes.manifest import Conditioning
from runtimes.noise import Generator
from runtimes.pipeline import Pipeline
from runtimes.preprocess import to_sample
from tests.runtimes import fakes
from tests.runtimes.fakes import SCALING, made

Write = Callable[..., Path]

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8))
MEANS = fakes.encode(to_sample(PHOTO, 32, 24)[np.newaxis])[:, :4]


@pytest.fixture
def editing(fake_bundle: Write) -> Callable[..., Path]:
    def write(**changes: object) -> Path:
        return fake_bundle(**{"unet_channels": 8, "tasks": ("instruct-pix2pix",), **changes})

    return write


def test_network_sees_the_mode_unscaled_and_zeros_in_one_branch_of_three(editing: Write) -> None:
    with Pipeline.open(editing()) as pipe:
        result = pipe("x", image=PHOTO, seed=3, num_images_per_prompt=2)
    assert result.settings.task == "instruct-pix2pix"
    assert result.settings.image_guidance_scale == 1.5
    sample: Any = made("unet").calls[0]["sample"]
    assert sample.shape == (6, 8, 4, 3)
    noise = Generator(3).randn((2, 4, 4, 3))  # the first that is drawn
    for branch in range(3):
        np.testing.assert_array_equal(sample[2 * branch : 2 * branch + 2, :4], noise)
    assert not sample[:2, 4:].any()
    np.testing.assert_array_equal(sample[2:, 4:], np.repeat(MEANS, 4, axis=0))


def test_cosxl_sees_it_in_the_latents_scale(editing: Write) -> None:
    conditioning = Conditioning(
        force_zeros_for_empty_prompt=True, requires_aesthetics_score=False, is_cosxl_edit=True
    )
    with Pipeline.open(editing(conditioning=conditioning)) as pipe:
        pipe("x", image=PHOTO, seed=3)
    sample: Any = made("unet").calls[0]["sample"]
    np.testing.assert_allclose(sample[1:, 4:], np.repeat(MEANS * SCALING, 2, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({"guidance_scale": 1}, [1, 1, 1, 1]),
        ({"image_guidance_scale": 1}, [2, 2, 2, 2]),
        ({"guidance_interval": (0.25, 0.75)}, [1, 3, 3, 1]),
    ],
)
def test_branches_without_weight_are_not_computed(
    editing: Write, options: dict[str, Any], rows: list[int]
) -> None:
    with Pipeline.open(editing()) as pipe:
        pipe("x", image=PHOTO, seed=3, **options)
    samples: list[Any] = [call["sample"] for call in made("unet").calls]
    assert [len(sample) for sample in samples] == rows
    for sample in samples:
        # The last branch: of the text and the picture.
        np.testing.assert_array_equal(sample[-1:, 4:], MEANS)


def test_a_picture_is_made_again(editing: Write, tmp_path: Path) -> None:
    from runtimes.inputs import Inputs

    with Pipeline.open(editing()) as pipe:
        first = pipe("x", image=PHOTO, seed=3, image_guidance_scale=2)
        (path,) = first.save(tmp_path / "x.png")
        again = pipe.repeat(path, inputs=Inputs(image=PHOTO))
        assert again.settings == first.settings
        np.testing.assert_array_equal(again.latents, first.latents)
        plain = pipe.repeat(path, inputs=Inputs(image=PHOTO), guidance_scale=1)
        assert plain.settings.guidance_scale == 1


def test_a_network_that_sees_no_picture_is_refused(editing: Write) -> None:
    with (
        Pipeline.open(editing(unet_channels=4)) as pipe,
        pytest.raises(BundleError, match=r"takes 4 channels; instruct-pix2pix takes 8\."),
    ):
        pipe("x", image=PHOTO)


def test_strength_is_refused(editing: Write) -> None:
    with (
        Pipeline.open(editing()) as pipe,
        pytest.raises(UsageError, match="instruct-pix2pix begins with noise alone; leave it out"),
    ):
        pipe("x", image=PHOTO, strength=0.5)
