"""Mixtures of two arrays, and pictures on the way from one seed to another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import latedge
from runtimes.errors import UsageError
from runtimes.interpolation import between, interpolate, lerp, slerp
from runtimes.noise import Generator
from runtimes.pipeline import Pipeline

Write = Callable[..., Path]
A, B = (Generator(seed).randn((4, 8, 8)) for seed in (1, 2))


def test_quarter_turn_by_hand() -> None:
    """Between (2, 0) and (0, 1): the angle is a right one, the lengths are mixed."""
    found = slerp(np.array([2.0, 0.0]), np.array([0.0, 1.0]), 1 / 3)
    np.testing.assert_allclose(found, [2 * np.cos(np.pi / 6), np.sin(np.pi / 6)], rtol=1e-12)


def test_ends_are_the_arrays_themselves() -> None:
    for mix in (slerp, lerp):
        np.testing.assert_array_equal(mix(A, B, 0), A)
        np.testing.assert_array_equal(mix(A, B, 1), B)
        assert mix(A, B, 0.3).dtype == np.float32


def test_noise_keeps_its_variance_along_the_arc_alone() -> None:
    # 256 values: a deviation of 1 is met within about 0.1.
    assert slerp(A, B, 0.5).std() == pytest.approx(1, abs=0.1)
    assert lerp(A, B, 0.5).std() == pytest.approx(0.5**0.5, abs=0.1)


def test_arrays_without_an_angle_are_mixed_straight() -> None:
    for start, end in ((A, 2 * A), (A, -A), (0 * A, A)):
        np.testing.assert_allclose(slerp(start, end, 0.25), 0.75 * start + 0.25 * end, rtol=1e-6)


def test_rows_hold_both_ends() -> None:
    for how in ("slerp", "lerp"):
        row = between(A, B, 5, how=how)
        assert len(row) == 5
        np.testing.assert_array_equal(row[0], A)
        np.testing.assert_array_equal(row[4], B)
        np.testing.assert_array_equal(row[1], getattr(latedge, how)(A, B, 0.25))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slerp(A, B[:1], 0.5), r"shapes \(4, 8, 8\) and \(1, 8, 8\) can't be mixed"),
        (lambda: slerp(A, [1.0], 0.5), "NumPy arrays can be mixed, not list"),  # pyright: ignore
        (lambda: lerp(A, B, 1.5), "share must be a number from 0 to 1, not 1.5"),
        (lambda: between(A, B, 1), "frames is 1; from one picture to another there are at least"),
        (lambda: between(A, B, 2.5), "frames must be a whole number from 1"),  # pyright: ignore
        (lambda: between(A, B, 3, how="slurp"), "unknown mixture 'slurp'.*Did you mean 'slerp'"),  # pyright: ignore
    ],
)
def test_what_cannot_be_mixed_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_frames_lead_from_seed_to_seed(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first, middle, last = interpolate(pipe, "x", seed=1, to_seed=2, frames=3, height=16)
        for found, seed in ((first, 1), (last, 2)):
            np.testing.assert_array_equal(found.latents, pipe("x", seed=seed, height=16).latents)
        again = pipe.run(middle.settings)
        mixed = slerp(Generator(1).randn((4, 2, 3)), Generator(2).randn((4, 2, 3)), 0.5)
        given = pipe("x", latents=mixed[np.newaxis], height=16)
    assert (middle.settings.variation_seed, middle.settings.variation_strength) == (2, 0.5)
    np.testing.assert_array_equal(middle.latents, again.latents)
    np.testing.assert_array_equal(middle.latents, given.latents)


def test_wrong_frames_are_refused_at_once(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        with pytest.raises(UsageError, match="frames is 1"):
            interpolate(pipe, "x", seed=1, to_seed=2, frames=1)
        with pytest.raises(UsageError, match="variation_seed can't be given here: seed and to_"):
            interpolate(pipe, "x", seed=1, to_seed=2, frames=2, variation_seed=4)


def test_each_picture_is_varied_by_its_own_noise(fake_bundle: Write) -> None:
    options: dict[str, Any] = {"variation_seed": 9, "variation_strength": 0.4}
    with Pipeline.open(fake_bundle()) as pipe:
        found = pipe("x", seed=5, num_images_per_prompt=2, **options)
        pairs = zip(Generator(5).randn((2, 4, 4, 3)), Generator(9).randn((2, 4, 4, 3)), strict=True)
        mixed = np.stack([slerp(a, b, 0.4) for a, b in pairs])
        expected = pipe("x", latents=mixed, num_images_per_prompt=2)
    np.testing.assert_array_equal(found.latents, expected.latents)


def test_absent_variation_seeds_are_drawn_and_told(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        found = [pipe("x", seed=1, variation_strength=0.5) for _ in range(2)]
    assert found[0].settings.variation_seed != found[1].settings.variation_seed
    assert np.abs(found[0].latents - found[1].latents).max() > 0.01
