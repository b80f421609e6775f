"""Pictures from text alone, from pure noise."""

from __future__ import annotations

import numpy as np

from runtimes.bundle import Bundle
from runtimes.inputs import Inputs
from runtimes.latents import check_latents, latent_shape
from runtimes.settings import Settings
from runtimes.tasks.task import Call, Start


class TextToImage:
    """As diffusers' StableDiffusionPipeline."""

    def check(self, bundle: Bundle, settings: Settings, inputs: Inputs) -> None:
        """See `Task.check`: latents must have the shape that the settings ask for."""
        if inputs.latents is not None:
            check_latents(inputs.latents, noise_shape(bundle, settings))

    def start(self, call: Call) -> Start:
        """See `Task.start`."""
        noise = start_noise(call)
        return Start(noise * np.float32(call.sampler.init_noise_sigma(call.levels)))


def noise_shape(bundle: Bundle, settings: Settings) -> tuple[int, int, int, int]:
    """The shape of the latents of a call."""
    space = bundle.manifest.latents
    return latent_shape(space, settings.count, settings.height, settings.width)


def start_noise(call: Call) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Unit normal noise: the caller's, or the next of the call's generator."""
    shape = noise_shape(call.bundle, call.settings)
    if call.inputs.latents is None:
        return call.generator.randn(shape)
    return check_latents(call.inputs.latents, shape)
