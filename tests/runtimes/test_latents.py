"""Sizes, latents from the caller, and the decoder's scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.latents import built_side, check_latents, check_side, latent_shape, to_decoder
from runtimes.manifest import Latents

SPACE = Latents(channels=4, scaling_factor=0.18215, vae_factor=8)
SHAPE = (2, 4, 3, 5)


def test_shape_of_latents() -> None:
    assert latent_shape(SPACE, 3, 64, 128) == (3, 4, 8, 16)


@pytest.mark.parametrize("pixels", [8, 512, 8192, np.int64(64)])
def test_good_sides_pass(pixels: int) -> None:
    found = check_side("width", pixels, 8, None)
    assert (found, type(found)) == (pixels, int)


@pytest.mark.parametrize(
    ("pixels", "built", "message"),
    [
        (
            515,
            None,
            "height 515 is not a multiple of 8, the VAE's factor; nearest are 512 and 520.",
        ),
        (0, None, "height must be from 8 to 8192 pixels, not 0."),
        (-8, None, "height must be from 8 to 8192 pixels, not -8."),
        (8200, None, "height must be from 8 to 8192 pixels, not 8200."),
        (64.0, None, "height must be a whole number of pixels, not 64.0."),
        (True, None, "height must be a whole number of pixels, not True."),
        ("64", None, "height must be a whole number of pixels, not '64'."),
        (640, 512, "height 640 can't be made: this bundle was built for height 512."),
    ],
)
def test_bad_sides_are_refused(pixels: object, built: int | None, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_side("height", pixels, 8, built)
    assert str(caught.value) == message


def test_given_latents_are_copied_as_float32() -> None:
    given = np.random.default_rng(0).standard_normal(SHAPE)
    found = check_latents(given, SHAPE)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, given.astype(np.float32))
    assert not np.shares_memory(check_latents(found, SHAPE), found)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([[1.0]], "latents must be a NumPy array, not list."),
        (np.zeros(SHAPE, np.int64), "latents must be of a float type, not int64."),
        (
            np.zeros((1, 4, 3, 5)),
            "latents have shape (1, 4, 3, 5); the settings ask for (2, 4, 3, 5).",
        ),
        (np.full(SHAPE, np.nan), "latents hold NaN or infinite values."),
        (np.full(SHAPE, 1e300), "latents hold NaN or infinite values."),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_latents_are_refused(latents: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_latents(latents, SHAPE)
    assert str(caught.value) == message


def test_decoder_gets_latents_of_its_own_scale() -> None:
    latents = np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)
    found = to_decoder(latents, SPACE)
    assert found.dtype == np.float32
    # One float32 division: half a unit in the last place.
    np.testing.assert_allclose(found, latents.astype(np.float64) / 0.18215, rtol=1e-7)


def test_built_sides(fake_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(fake_bundle(height=3))
    assert (built_side(bundle, "height"), built_side(bundle, "width")) == (24, None)


def test_graphs_built_for_different_sizes_are_refused(fake_bundle: Callable[..., Path]) -> None:
    bundle = open_bundle(fake_bundle(height=3, decoder_height=4))
    message = "U-Net was built for a latent height of 3, the VAE decoder for 4"
    with pytest.raises(BundleError, match=message):
        built_side(bundle, "height")
