"""Pictures from pictures: C. Meng et al., "SDEdit", 2022; or from latents that are half done."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.image_latents import read_image_latents
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_number, check_pictures, noised, samples, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start
from runtimes.vae_codec import encode

Floats = NDArray[np.float32]


class ImageToImage:
    """As diffusers' image-to-image pipelines of Stable Diffusion and SDXL.

    Noise is drawn as there: first what the encoder's distribution takes, one draw for all pictures
    that were given, then the noise that is added. Latents that another model left
    (`denoising_start`) are taken as they are.
    """

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`."""
        check_noise(bundle, settings, inputs)
        if inputs.given.image_latents is None:
            check_pictures(bundle, settings, inputs.image)
        else:
            _check_latents(bundle, settings, inputs)

    def start(self, call: Call) -> Start:
        """See `Task.start`."""
        settings, given = call.settings, call.inputs.given.image_latents
        if given is None:
            found = encode(call, samples(call.inputs.image, settings))
        else:
            found = read_image_latents(given, call.bundle.manifest.latents.channels)
        latents = spread(found, settings.count)
        if settings.denoising_start is not None:
            return Start(latents)
        return Start(noised(latents, start_noise(call), call.levels[call.begin]))


def _check_latents(bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
    """Refuses latents of another size than height and width, or another number than prompts."""
    space = bundle.manifest.latents
    found = read_image_latents(inputs.given.image_latents, space.channels)
    check_number("image_latents", len(found), len(settings.prompt), "prompts")
    height, width = (side * space.vae_factor for side in found.shape[2:])
    if (height, width) != (settings.height, settings.width):
        raise UsageError(
            f"image_latents are of {width}×{height} pixels, not "
            f"{settings.width}×{settings.height}; leave height and width out."
        )
