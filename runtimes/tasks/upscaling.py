"""Larger pictures from small ones, four times as high and wide: the x4 upscaler.

J. Ho et al., "Cascaded Diffusion Models", 2022: noise is added to the small picture, the U-Net is
told how much as a class, and sees the noisy picture as further channels beside the latents.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.bundle import Bundle, read_json
from runtimes.checks import check_count
from runtimes.errors import BundleError, UsageError
from runtimes.noise import Generator
from runtimes.picture_input import Read, size_of
from runtimes.preprocess import check_sizes, floored, to_sample
from runtimes.read_inputs import ReadInputs
from runtimes.schedule import NoiseSchedule
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_number, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start

Floats = NDArray[np.float32]

NOISE_LEVEL = 20
MAX_NOISE_LEVEL = 350
"""diffusers' default, and the most that the published model was trained with."""


class Upscaling:
    """As diffusers' StableDiffusionUpscalePipeline."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: there are pictures, of a quarter of the size, and a schedule."""
        images = inputs.image
        check_number("image", len(images), len(settings.prompt), "prompts")
        factor = bundle.manifest.latents.vae_factor
        for image in images:
            size = upscaled_size(image, factor)
            if size != (settings.height, settings.width):
                height, width = size_of(image)
                raise UsageError(
                    f"an image of {width}×{height} pixels becomes one of "
                    f"{size[1]}×{size[0]}, not {settings.width}×{settings.height}; leave height "
                    "and width out, and give images of one size."
                )
        check_sizes(images, settings.height // factor, settings.width // factor)
        check_noise(bundle, settings, inputs)
        low_res_schedule(bundle)

    def start(self, call: Call) -> Start:
        """See `Task.start`. The picture's noise is drawn before the latents', as in diffusers."""
        settings = call.settings
        assert settings.noise_level is not None
        factor = call.bundle.manifest.latents.vae_factor
        height, width = settings.height // factor, settings.width // factor
        images = np.stack(
            [
                to_sample(image, height, width, Image.Resampling.BICUBIC)
                for image in call.inputs.image
            ]
        )
        noisy = _noised(images, call.generator, low_res_schedule(call.bundle), settings.noise_level)
        noise = start_noise(call)
        return Start(
            x=noise * np.float32(call.sampler.init_noise_sigma(call.levels)),
            concat=spread(noisy, settings.count),
            feeds={"class_labels": np.array([settings.noise_level])},
        )


def _noised(images: Floats, generator: Generator, schedule: NoiseSchedule, timestep: int) -> Floats:
    """Pictures at a training timestep: sqrt(a) x + sqrt(1 - a) noise, in float32 as diffusers."""
    kept = np.float32(schedule.alphas_cumprod[timestep])
    noise = generator.randn(images.shape)
    return np.sqrt(kept) * images + np.sqrt(np.float32(1) - kept) * noise


def low_res_schedule(bundle: Bundle) -> NoiseSchedule:
    """The schedule of the noise that is added to the small picture.

    Raises:
        BundleError: the bundle has none, or it has no such levels.
        UsageError: its config can't be run.
    """
    name = bundle.manifest.low_res_scheduler
    if name is None:
        raise BundleError(f"{bundle.path} has no low_res_scheduler. Export it again.")
    schedule = NoiseSchedule.from_config(read_json(bundle.path / name))
    if len(schedule.alphas_cumprod) <= MAX_NOISE_LEVEL:
        raise BundleError(
            f"{bundle.path}/{name} has {len(schedule.alphas_cumprod)} levels, fewer than "
            f"{MAX_NOISE_LEVEL + 1}."
        )
    return schedule


def upscaled_size(image: Read, factor: int) -> tuple[int, int]:
    """Height and width of what an image becomes; diffusers cuts sides to multiples of the factor.

    Raises:
        UsageError: the image is smaller than that.
    """
    height, width = size_of(image)
    if min(height, width) < factor:
        raise UsageError(
            f"an image of {width}×{height} pixels is too small; each side must be {factor} or more."
        )
    return floored(height, factor) * factor, floored(width, factor) * factor


def check_noise_level(task: str, value: object) -> int | None:
    """The noise level of an upscaling, None for other tasks.

    Raises:
        UsageError: no whole number of the model's range, or not an upscaling.
    """
    if task != "upscaling":
        if value is not None:
            raise UsageError(
                f"noise_level {value} says how much noise upscaling adds to its picture, and this "
                f"is {task}; leave it out."
            )
        return None
    if value is None:
        return NOISE_LEVEL
    return check_count("noise_level", value, MAX_NOISE_LEVEL, 0)
