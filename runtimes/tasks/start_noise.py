"""The unit noise that a call begins with: the seed's, the caller's, or a mixture of two seeds'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.interpolation import slerp
from runtimes.latents import check_latents, latent_shape
from runtimes.noise import Generator
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.task import Call

Floats = NDArray[np.float32]


def noise_shape(bundle: Bundle, settings: Settings) -> tuple[int, int, int, int]:
    """The shape of the latents of a call."""
    space = bundle.manifest.latents
    return latent_shape(space, settings.count, settings.height, settings.width)


def check_noise(bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
    """Refuses latents of another shape than the settings ask for.

    Raises:
        UsageError: says which shape.
    """
    if inputs.given.latents is not None:
        check_latents(inputs.given.latents, noise_shape(bundle, settings))


def start_noise(call: Call) -> Floats:
    """Unit normal noise: the caller's, or the next of the call's generator.

    With a variation seed each picture's noise is moved along the arc towards that seed's, as
    AUTOMATIC1111's web UI does; there the angle is taken column by column, here over the whole
    noise of a picture, so the two agree in what they do and not in every digit.
    """
    shape = noise_shape(call.bundle, call.settings)
    if call.inputs.given.latents is not None:
        return check_latents(call.inputs.given.latents, shape)
    noise = call.generator.randn(shape)
    seed, share = call.settings.variation_seed, call.settings.variation_strength
    if seed is None:
        return noise
    other = Generator(seed).randn(shape)
    mixed = [slerp(a, b, share) for a, b in zip(noise, other, strict=True)]
    return np.stack(mixed).astype(np.float32, copy=False)
