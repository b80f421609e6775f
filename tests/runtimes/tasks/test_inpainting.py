"""Inpainting over networks that are formulas: what is kept, what the U-Net sees, what is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.bundle import open_bundle
from runtimes.noise import Generator
from runtimes.pipeline import Pipeline
from runtimes.preprocess import to_sample
from runtimes.samplers import make_sampler
from runtimes.schedule import NoiseSchedule
from tests.runtimes import fakes
from tests.runtimes.fakes import SCALING, made

Write = Callable[..., Path]
Floats = NDArray[Any]

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 24, 3), dtype=np.uint8))
VALUES = np.zeros((32, 24), np.uint8)
VALUES[8:24, 8:24] = 255
MASK = Image.fromarray(VALUES)
CELLS = VALUES[::8, ::8] / 255


def latents(image: Image.Image, generator: Generator, kept: Floats | None = None) -> Floats:
    """What the fake encoder gives, drawn from."""
    pixels = to_sample(image, 32, 24)[np.newaxis]
    moments = fakes.encode(pixels if kept is None else pixels * kept)
    draw = generator.randn((1, 4, 4, 3))
    return SCALING * (moments[:, :4] + np.exp(moments[:, 4:] / 2) * draw)


def test_known_region_ends_as_it_was(fake_bundle: Write) -> None:
    bundle = fake_bundle(unet_channels=4, tasks=("inpainting",))
    seen: list[Floats] = []
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            "x", image=PHOTO, mask_image=MASK, seed=3, callback=lambda s: seen.append(s.latents)
        )
    generator = Generator(3)
    clean = latents(PHOTO, generator)
    noise = generator.randn((1, 4, 4, 3))
    # From the second level to the last: the picture, with the same noise, as much as the level has.
    for found, level in zip(seen[:-1], made_levels(bundle)[1:-1], strict=True):
        known = level[0] * clean + level[1] * noise
        np.testing.assert_allclose(found[..., CELLS == 0], known[..., CELLS == 0], atol=1e-6)
    np.testing.assert_array_equal(
        result.latents[..., CELLS == 0], clean.astype(np.float32)[..., CELLS == 0]
    )
    assert np.abs(result.latents - clean)[..., CELLS == 1].max() > 0.1


def test_known_region_is_as_noisy_as_the_rest_where_sampling_stops(fake_bundle: Write) -> None:
    bundle = fake_bundle(unet_channels=4, tasks=("inpainting",))
    with Pipeline.open(bundle) as pipe:
        found = pipe("x", image=PHOTO, mask_image=MASK, seed=3, denoising_end=0.5).latents
        calls = len(made("unet").calls)
    generator = Generator(3)
    clean = latents(PHOTO, generator)
    noise = generator.randn((1, 4, 4, 3))
    assert 0 < calls < 4
    alpha, sigma = made_levels(bundle)[calls]
    assert sigma > 0.5
    known = alpha * clean + sigma * noise
    np.testing.assert_allclose(found[..., CELLS == 0], known[..., CELLS == 0], atol=1e-6)


def seen_by_unet() -> Floats:
    """The latents and what follows them in the first call."""
    return cast("Floats", made("unet").calls[0]["sample"])


def made_levels(bundle: Path) -> list[tuple[float, float]]:
    config = open_bundle(bundle).scheduler_config
    levels = make_sampler("ddim", config).levels(NoiseSchedule.from_config(config), 4)
    return [(level.alpha, level.sigma) for level in levels]


def test_network_of_nine_channels_sees_mask_and_the_rest_of_the_picture(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(unet_channels=9, tasks=("inpainting",))) as pipe:
        pipe("x", image=PHOTO, mask_image=MASK, seed=3, num_images_per_prompt=2)
    sample = seen_by_unet()
    assert sample.shape == (4, 9, 4, 3)
    generator = Generator(3)
    noise = generator.randn((2, 4, 4, 3))
    masked = latents(PHOTO, generator, kept=VALUES < 128)
    for half in (sample[:2], sample[2:]):
        np.testing.assert_array_equal(half[:, :4], noise)
        np.testing.assert_array_equal(half[:, 4], np.stack([CELLS, CELLS]))
        np.testing.assert_allclose(half[:, 5:], np.repeat(masked, 2, axis=0), atol=1e-6)


def test_draws_come_in_the_references_order_below_full_strength(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(unet_channels=9, tasks=("inpainting",))) as pipe:
        pipe("x", image=PHOTO, mask_image=MASK, seed=3, strength=0.5)
    sample = seen_by_unet()
    generator = Generator(3)
    latents(PHOTO, generator)
    generator.randn((1, 4, 4, 3))
    masked = latents(PHOTO, generator, kept=VALUES < 128)
    np.testing.assert_allclose(sample[:1, 5:], masked, atol=1e-6)


def test_one_prompt_for_several_pictures(fake_bundle: Write) -> None:
    """Each picture is what it would be alone with its share of the noise."""
    bundle = fake_bundle(unet_channels=4, tasks=("image-to-image",))
    other = PHOTO.rotate(180)
    with Pipeline.open(bundle) as pipe:
        found = pipe("x", "y", image=[PHOTO, other], seed=1, num_images_per_prompt=2)
        samples = seen_by_unet()[:4]
    assert found.settings.prompt == ("x", "x")
    assert found.settings.negative_prompt == ("y", "y")
    assert len(found.images) == 4
    generator = Generator(1)
    pixels = np.stack([to_sample(each, 32, 24) for each in (PHOTO, other)])
    moments = fakes.encode(pixels)
    clean = SCALING * (moments[:, :4] + np.exp(moments[:, 4:] / 2) * generator.randn((2, 4, 4, 3)))
    noise = generator.randn((4, 4, 4, 3))
    alpha, sigma = made_levels(bundle)[1]  # 0.8 of four steps are three
    expected = alpha * np.repeat(clean, 2, axis=0) + sigma * noise
    np.testing.assert_allclose(samples, expected, atol=1e-5)


def test_depth_is_a_channel(fake_bundle: Write) -> None:
    depth = np.arange(12.0).reshape(4, 3)
    with Pipeline.open(fake_bundle(unet_channels=5, tasks=("depth-to-image",))) as pipe:
        pipe("x", image=PHOTO, depth_map=depth, seed=3)
    sample = seen_by_unet()
    expected = (2 * depth / 11 - 1).astype(np.float32)
    np.testing.assert_allclose(sample[:, 4], np.stack([expected] * 2), atol=1e-6)


def test_what_lies_outside_the_mask_is_bit_for_bit_the_pictures(fake_bundle: Write) -> None:
    large = PHOTO.resize((90, 120))
    mask = Image.fromarray(VALUES).resize((90, 120), Image.Resampling.NEAREST)
    with Pipeline.open(fake_bundle(unet_channels=4, tasks=("inpainting",))) as pipe:
        result = pipe("x", image=large, mask_image=mask, padding_mask_crop=5, seed=0)
    assert isinstance(result.images, list)
    found, before = np.asarray(result.images[0]), np.asarray(large)
    assert found.shape == before.shape
    black = np.asarray(mask) == 0
    np.testing.assert_array_equal(found[black], before[black])
    assert (found[~black] != before[~black]).mean() > 0.5
