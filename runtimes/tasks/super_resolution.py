"""Larger pictures from small ones: the first latent diffusion model of super-resolution.

R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, section
4.4: the U-Net sees the small picture beside the latents of the large one, which are of its size.
"""

from __future__ import annotations

import numpy as np

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.latents import check_multiples
from runtimes.picture_input import Read, size_of
from runtimes.preprocess import check_sizes, floored, to_sample
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_number, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start

MULTIPLE = 32
"""Of the small picture's sides, to which diffusers cuts them."""


class SuperResolution:
    """As diffusers' LDMSuperResolutionPipeline.

    Where the sampler scales what the U-Net sees (Euler, LMS), diffusers scales the small picture
    with the latents, though the network was trained with it as it is; so does this.
    """

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: pictures of one size, which is the latents'."""
        images = inputs.image
        check_number("image", len(images), len(settings.prompt), "pictures")
        for image in images:
            height, width = upscaled_size(bundle, image)
            if (height, width) != (settings.height, settings.width):
                found = size_of(image)
                raise UsageError(
                    f"an image of {found[1]}×{found[0]} pixels becomes one of {width}×{height}, "
                    f"not {settings.width}×{settings.height}; leave height and width out, and "
                    "give images of one size."
                )
        factor = bundle.manifest.latents.vae_factor
        check_sizes(images, settings.height // factor, settings.width // factor)
        check_multiples(bundle, settings.height, settings.width)
        check_noise(bundle, settings, inputs)

    def start(self, call: Call) -> Start:
        """See `Task.start`."""
        settings, factor = call.settings, call.bundle.manifest.latents.vae_factor
        height, width = settings.height // factor, settings.width // factor
        images = [to_sample(each, height, width) for each in call.inputs.image]
        return Start(
            x=start_noise(call) * np.float32(call.sampler.init_noise_sigma(call.levels)),
            concat=spread(np.stack(images), settings.count),
            concat_scaled=True,
        )


def upscaled_size(bundle: Bundle, image: Read) -> tuple[int, int]:
    """Height and width in pixels of what an image becomes.

    Raises:
        UsageError: the image is too small.
    """
    height, width = size_of(image)
    if min(height, width) < MULTIPLE:
        raise UsageError(
            f"an image of {width}×{height} pixels is too small; each side must be {MULTIPLE} or "
            "more."
        )
    factor = bundle.manifest.latents.vae_factor
    return floored(height, MULTIPLE) * factor, floored(width, MULTIPLE) * factor
