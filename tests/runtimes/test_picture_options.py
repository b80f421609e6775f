"""What goes together and what does not, refused before an engine is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtimes.errors import BundleError, LatedgeError, UsageError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.runtimes.fakes import SCHEDULER, FakeEngine

Write = Callable[..., Path]
Floats = np.ndarray[Any, np.dtype[np.float32]]

PHOTO = Image.fromarray(np.arange(32 * 24 * 3, dtype=np.uint8).reshape(32, 24, 3))
MASK = Image.new("L", PHOTO.size, 255)
SPOT = Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((8, 16), (8, 8))))
DEPTH = np.arange(6.0).reshape(2, 3)
TASKS = ("text-to-image", "image-to-image", "inpainting")


@pytest.fixture
def pipe(fake_bundle: Write) -> Pipeline:
    return Pipeline.open(fake_bundle(unet_channels=4, tasks=TASKS))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.5}, "strength 0.5 says how much of an image is changed, but text-to-image"),
        ({"image": PHOTO, "strength": -0.1}, "strength must be a number from 0 to 1, not -0.1"),
        ({"image": PHOTO, "strength": 1.1}, "strength must be a number from 0 to 1, not 1.1"),
        ({"image": PHOTO, "strength": float("nan")}, "strength must be a number from 0 to 1, not "),
        ({"image": PHOTO, "strength": "half"}, "strength must be a number from 0 to 1, not 'half'"),
        ({"image": PHOTO, "strength": True}, "strength must be a number from 0 to 1, not True"),
        ({"image": PHOTO, "strength": 0}, "strength 0 of 4 steps makes no step at all; give stren"),
        (
            {"image": PHOTO, "strength": 0.2},
            "strength 0.2 of 4 steps makes .* 0.25 or more",
        ),
        ({"mask_image": MASK}, "mask_image can't be given like this; what can is image; image and"),
        ({"depth_map": DEPTH}, "depth_map can't be given like this"),
        ({"image": PHOTO, "mask_image": MASK, "depth_map": DEPTH}, "depth_map and image and mask_"),
        (
            {"image": PHOTO, "mask_blur": 3},
            "mask_blur 3 goes with a mask_image, and none was",
        ),
        (
            {"padding_mask_crop": 3},
            "padding_mask_crop 3 goes with a mask_image, and none was",
        ),
        (
            {"image": PHOTO, "mask_image": MASK, "mask_blur": -1},
            "mask_blur must be a number from 0 to 1000, not -1",
        ),
        (
            {"image": PHOTO, "mask_image": MASK, "padding_mask_crop": 1.5},
            "padding_mask_crop must be a whole number from 0 to 8192, not 1.5",
        ),
        ({"variation_seed": 3}, "variation_seed 3 needs a variation_strength: from 0, the seed's"),
        ({"variation_strength": 2}, "variation_strength must be a number from 0 to 1, not 2"),
        ({"variation_seed": 1.5, "variation_strength": 1}, "variation_seed must be a whole number"),
        (
            {"latents": np.zeros((1, 4, 4, 3)), "variation_strength": 0.1},
            "variation_strength mixes the noise of two seeds, but latents were given",
        ),
        (
            {"image": PHOTO, "latents": np.full((1, 4, 4, 3), np.nan)},
            "latents hold NaN or infinite values",
        ),
        ({"image": PHOTO, "latents": np.zeros((1, 4, 4, 4))}, r"latents have shape \(1, 4, 4, 4\)"),
        ({"image": PHOTO.convert("RGBA")}, "image has an alpha channel"),
        ({"image": PHOTO, "height": 33}, "height 33 is not a multiple of 8"),
        (
            {"image": PHOTO.resize((7, 9))},
            "image of 7×9 pixels is smaller than a latent cell of 8; give",
        ),
        ({"image": np.zeros((33, 24, 3))}, "array of floats for 24×33, where 24×32 is made"),
        (
            {"image": [PHOTO] * 3, "prompt": ["a", "b"]},
            "there are 3 of image for 2 prompts; give",
        ),
        (
            {"image": PHOTO, "mask_image": [MASK, MASK]},
            "there are 2 of mask_image for 1 images; give one for all, or one each",
        ),
        (
            {"image": PHOTO, "mask_image": MASK.resize((24, 31))},
            "mask_image is 24×31 pixels, its image 24×32; both must have one size",
        ),
        ({"image": PHOTO, "mask_image": MASK.convert("RGB")}, "mask_image has mode RGB; taken are"),
        (
            {"image": PHOTO, "mask_image": MASK.point(lambda _: 100)},
            r"mask_image leaves no latent cell \(8 pixels square\) to paint anew",
        ),
        (
            {"image": PHOTO, "mask_image": MASK, "padding_mask_crop": 3, "output_type": "latent"},
            "output_type 'latent' can't be given with padding_mask_crop: the picture is put",
        ),
        (
            {"image": PHOTO, "mask_image": SPOT, "mask_blur": 9},
            "to paint anew; paint white, or more widely, what shall change, or blur it less",
        ),
        (
            {"image": [PHOTO] * 2, "mask_image": MASK, "padding_mask_crop": 3},
            "padding_mask_crop takes one image, Pillow's or of uint8, and was given 2 images",
        ),
        (
            {"image": np.zeros((32, 24, 3)), "mask_image": MASK, "padding_mask_crop": 3},
            "padding_mask_crop takes one image, .* and was given an array of floats",
        ),
        (
            {"image": PHOTO, "mask_image": MASK.point(lambda _: 0), "padding_mask_crop": 3},
            "mask_image is black: it shows nothing to paint anew",
        ),
    ],
)
def test_wrong_pictures_are_refused_before_any_work(
    pipe: Pipeline, arguments: dict[str, Any], message: str
) -> None:
    call: Any = pipe
    with pytest.raises(UsageError, match=message) as caught:
        call(**{"prompt": "x", **arguments})
    assert "\n" not in str(caught.value)
    assert [len(engine.calls) for engine in FakeEngine.made] == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        (
            {"tasks": ("text-to-image",)},
            {"image": PHOTO},
            r"can't do image-to-image; it is made for text-to-image \(takes no pictures\)\.",
        ),
        (
            {"tasks": ("inpainting",), "unet_channels": 9},
            {},
            r"can't do text-to-image; it is made for inpainting \(takes image and mask_image\)\.",
        ),
        (
            {"tasks": TASKS, "unet_channels": 4},
            {"image": PHOTO, "depth_map": DEPTH},
            "can't do depth-to-image; it is made for",
        ),
        ({"tasks": TASKS}, {"image": PHOTO}, "has no vae_encoder"),
        (
            {"tasks": TASKS, "unet_channels": 6},
            {"image": PHOTO, "mask_image": MASK},
            "the U-Net takes 6 channels; inpainting takes 4 or 9",
        ),
    ],
)
def test_bundles_that_cannot_are_refused(
    fake_bundle: Write, changes: dict[str, Any], arguments: dict[str, Any], message: str
) -> None:
    with Pipeline.open(fake_bundle(**changes)) as pipe, pytest.raises(BundleError, match=message):
        pipe("x", seed=0, **arguments)


def test_samplers_that_begin_at_the_start_alone_are_refused(fake_bundle: Write) -> None:
    scheduler = {**SCHEDULER, "skip_prk_steps": False}
    bundle = fake_bundle(unet_channels=4, tasks=TASKS, scheduler=scheduler)
    with Pipeline.open(bundle) as pipe, pytest.raises(LatedgeError, match="first level alone"):
        pipe("x", image=PHOTO, sampler="pndm", num_inference_steps=10, strength=0.5)
    assert [len(engine.calls) for engine in FakeEngine.made] == [0, 0, 0]


def test_defaults_are_the_references(pipe: Pipeline) -> None:
    found = [
        settle(pipe.bundle, "x", inputs=inputs)
        for inputs in (Inputs(), Inputs(image=PHOTO), Inputs(image=PHOTO, mask_image=MASK))
    ]
    assert [each.task for each in found] == list(TASKS)
    assert [each.strength for each in found] == [None, 0.8, 1.0]


def test_size_is_the_pictures_down_to_whole_cells(pipe: Pipeline) -> None:
    inputs = Inputs(image=PHOTO.resize((47, 61)))
    found = settle(pipe.bundle, "x", inputs=inputs)
    assert (found.width, found.height) == (40, 56)
    found = settle(pipe.bundle, "x", inputs=inputs, width=16)
    assert (found.width, found.height) == (16, 56)


def test_size_of_a_cropped_picture_is_the_models_own(pipe: Pipeline) -> None:
    inputs = Inputs(image=PHOTO.resize((100, 90)), mask_image=MASK.resize((100, 90)))
    found = settle(pipe.bundle, "x", inputs=inputs, padding_mask_crop=4)
    assert (found.width, found.height) == (24, 32)


def test_size_that_the_graphs_were_built_for_comes_first(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(unet_channels=4, tasks=TASKS, height=3, width=5)) as pipe:
        found = pipe("x", image=PHOTO, seed=0)
    assert isinstance(found.images, list)
    assert found.images[0].size == (40, 24)


def test_settings_tell_the_pictures(pipe: Pipeline) -> None:
    both = Inputs(image=PHOTO, mask_image=MASK)
    found = settle(pipe.bundle, "x", inputs=both, seed=0)
    assert found.input_sha256.keys() == {"image", "mask_image"}
    other = Inputs(image=PHOTO.rotate(180), mask_image=MASK)
    again = settle(pipe.bundle, "x", inputs=other, seed=0)
    assert again.input_sha256["mask_image"] == found.input_sha256["mask_image"]
    assert again.input_sha256["image"] != found.input_sha256["image"]
    for inputs, message in (
        (other, "made for pixels of SHA-256 [0-9a-f]{12}… as image, and another one was given"),
        (Inputs(image=PHOTO), "as mask_image, and none was given; give the same"),
    ):
        with pytest.raises(UsageError, match=message):
            pipe.run(found, inputs)
    with pytest.raises(UsageError, match="made for none as image, and another one was given"):
        pipe.run(settle(pipe.bundle, "x", seed=0), Inputs(image=PHOTO))
