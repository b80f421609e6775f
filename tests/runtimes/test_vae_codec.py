"""The draw from the encoder's distribution."""

from __future__ import annotations

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from runtimes.noise import Generator
from runtimes.vae_codec import drawn


def test_draw_equals_the_references() -> None:
    parameters = np.random.default_rng(0).normal(size=(2, 8, 4, 6)).astype(np.float32)
    parameters[:, 4:] *= 20  # some beyond both ends of the clamp
    expected = DiagonalGaussianDistribution(torch.from_numpy(parameters)).sample(
        torch.Generator().manual_seed(3)
    )
    found = drawn(parameters, Generator(3))
    assert parameters[:, 4:].min() < -30
    assert parameters[:, 4:].max() > 20
    # Deviations go up to e^10, and the noise agrees to 5e-7.
    np.testing.assert_allclose(found, expected.numpy(), rtol=2e-6, atol=1e-6)
