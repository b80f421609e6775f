"""Pictures from text alone, from pure noise."""

from __future__ import annotations

import numpy as np

from runtimes.bundle import Bundle
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start


class TextToImage:
    """As diffusers' StableDiffusionPipeline."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: latents must have the shape that the settings ask for."""
        check_noise(bundle, settings, inputs)

    def start(self, call: Call) -> Start:
        """See `Task.start`."""
        noise = start_noise(call)
        return Start(noise * np.float32(call.sampler.init_noise_sigma(call.levels)))
