"""Super-resolution: the small picture's way to the U-Net, and the sizes that it decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.runtimes.fakes import CHANNELS, FACTOR, made

Write = Callable[..., Path]


@pytest.fixture
def bundle(fake_bundle: Write) -> Path:
    return fake_bundle(text=False, unet_channels=CHANNELS + 3, tasks=("super-resolution",))


def small(width: int = 40, height: int = 70, level: int = 51) -> Image.Image:
    pixels = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    return Image.fromarray(pixels // 2 + np.uint8(level))


def fed(bundle: Path, **options: Any) -> list[np.ndarray[Any, Any]]:
    """What the U-Net sees beside the latents, call by call."""
    with Pipeline.open(bundle) as pipe:
        pipe(output_type="latent", seed=0, num_inference_steps=3, **options)
    return [call["sample"][:, CHANNELS:] for call in made("unet").calls]


def test_picture_is_cut_to_multiples_of_32_and_seen_as_it_is(bundle: Path) -> None:
    seen = fed(bundle, image=small())
    pixels = np.asarray(small().resize((32, 64), Image.Resampling.LANCZOS), np.float32)
    expected = (2 * (pixels / 255) - 1).transpose(2, 0, 1)[np.newaxis]
    assert len(seen) == 3
    for each in seen:
        np.testing.assert_allclose(each, expected, atol=1e-6, rtol=0)
    assert expected.std() > 0.1


def test_picture_is_scaled_with_the_latents_as_in_diffusers(bundle: Path) -> None:
    """`scale_model_input` there is of both: 1 / sqrt(sigma² + 1)."""
    plain = fed(bundle, image=small())[0]
    scaled = fed(bundle, image=small(), sampler="euler", sigmas=[3.0, 1.0, 0.5, 0.0])
    for each, sigma in zip(scaled, (3.0, 1.0, 0.5), strict=True):
        np.testing.assert_allclose(each, plain / np.hypot(sigma, 1), atol=1e-6, rtol=0)


def test_several_pictures_and_several_of_each(bundle: Path) -> None:
    images = [small(level=51), small(level=90)]
    seen = fed(bundle, image=images, num_images_per_prompt=2)[0]
    assert len(seen) == 4
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[2], seen[3])
    assert np.abs(seen[0] - seen[2]).max() > 0.1


def test_settings_tell_the_size(bundle: Path) -> None:
    settings = settle(open_bundle(bundle), inputs=Inputs(image=small()), seed=0)
    assert (settings.task, settings.count) == ("super-resolution", 1)
    assert (settings.height, settings.width) == (64 * FACTOR, 32 * FACTOR)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": None}, r"can't do text-to-image; it is made for super-resolution \(takes im"),
        ({"image": []}, "image holds no picture; give one."),
        ({"image": small().convert("RGBA")}, r"image has an alpha channel \(mode RGBA\)"),
        ({"image": small(31, 64)}, "an image of 31×64 pixels is too small; each side must be 32"),
        ({"image": [small(), small(64)]}, "an image of 64×70 pixels becomes one of 512×512, not 2"),
        ({"height": 256}, "an image of 40×70 pixels becomes one of 256×512, not 256×256; leave"),
        ({"image": np.zeros((70, 40, 3), np.float32)}, "image is an array of floats for 40×70"),
        ({"strength": 0.5}, "strength 0.5 says how much of an image is changed, but super-resol"),
        ({"prompt": "x"}, "prompt 'x' can't be given: this bundle's U-Net takes no text"),
    ],
)
def test_wrong_inputs_are_refused(bundle: Path, options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"image": small(), **options}
    inputs = Inputs(image=given.pop("image"))
    with pytest.raises(LatedgeError, match=message) as caught:
        settle(open_bundle(bundle), inputs=inputs, **given)
    assert "\n" not in str(caught.value)
