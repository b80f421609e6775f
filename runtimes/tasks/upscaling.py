"""Larger pictures from small ones, four times as high and wide: the x4 upscaler.

J. Ho et al., "Cascaded Diffusion Models", 2022: noise is added to the small picture, the U-Net is
told how much as a class, and sees the noisy picture as further channels beside the latents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.bundle import Bundle, read_json
from runtimes.checks import is_whole
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs, Pictures
from runtimes.latents import check_latents
from runtimes.noise import Generator
from runtimes.schedule import NoiseSchedule
from runtimes.settings import Settings
from runtimes.tasks.task import Call, Start
from runtimes.tasks.text_to_image import noise_shape, start_noise

Floats = NDArray[np.float32]

NOISE_LEVEL = 20
MAX_NOISE_LEVEL = 350
"""diffusers' default, and the most that the published model was trained with."""


class Upscaling:
    """As diffusers' StableDiffusionUpscalePipeline."""

    def check(self, bundle: Bundle, settings: Settings, inputs: Inputs) -> None:
        """See `Task.check`: there are pictures, of a quarter of the size, and a schedule."""
        images = pictures(inputs.image)
        if len(images) not in (1, len(settings.prompt)):
            raise UsageError(
                f"there are {len(images)} of image for {len(settings.prompt)} prompts; give one "
                "for all, or one each."
            )
        factor = bundle.manifest.latents.vae_factor
        for image in images:
            size = upscaled_size(image, factor)
            if size != (settings.height, settings.width):
                raise UsageError(
                    f"an image of {image.width}×{image.height} pixels becomes one of "
                    f"{size[1]}×{size[0]}, not {settings.width}×{settings.height}; leave height "
                    "and width out, and give images of one size."
                )
        if inputs.latents is not None:
            check_latents(inputs.latents, noise_shape(bundle, settings))
        low_res_schedule(bundle)

    def start(self, call: Call) -> Start:
        """See `Task.start`. The picture's noise is drawn before the latents', as in diffusers."""
        settings = call.settings
        assert settings.noise_level is not None
        factor = call.bundle.manifest.latents.vae_factor
        size = settings.height // factor, settings.width // factor
        images = np.stack([samples(image, size) for image in pictures(call.inputs.image)])
        noisy = _noised(images, call.generator, low_res_schedule(call.bundle), settings.noise_level)
        noise = start_noise(call)
        return Start(
            x=noise * np.float32(call.sampler.init_noise_sigma(call.levels)),
            concat=np.repeat(noisy, settings.count // len(noisy), axis=0),
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


def pictures(given: Pictures | None) -> Sequence[Image.Image]:
    """The images of a call, of mode RGB.

    Raises:
        UsageError: there is none, or what is there is no picture of Pillow's without alpha.
    """
    if given is None:
        raise UsageError("upscaling needs an image: give the small picture.")
    images = [given] if isinstance(given, Image.Image) else list(given)
    if not images:
        raise UsageError("image holds no picture; give one.")
    for image in images:
        if not isinstance(image, Image.Image):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"image must be a Pillow image, not {type(image).__name__}.")
        if image.mode not in ("RGB", "L"):
            raise UsageError(
                f"image has mode {image.mode}; taken are RGB and L: convert it with "
                'image.convert("RGB").'
            )
    return [image.convert("RGB") for image in images]


def upscaled_size(image: Image.Image, factor: int) -> tuple[int, int]:
    """Height and width of what an image becomes; diffusers cuts sides to multiples of the factor.

    Raises:
        UsageError: the image is smaller than that.
    """
    if min(image.size) < factor:
        raise UsageError(
            f"an image of {image.width}×{image.height} pixels is too small; each side must be "
            f"{factor} or more."
        )
    height, width = (side // factor * factor * factor for side in (image.height, image.width))
    return height, width


def samples(image: Image.Image, size: tuple[int, int]) -> Floats:
    """A picture as the U-Net takes it: [3, h, w] in [-1, 1], resized where it has another size."""
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    unit = np.asarray(image, np.float32) / np.float32(255)
    return np.float32(2) * unit.transpose(2, 0, 1) - np.float32(1)


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
    if not is_whole(value) or not 0 <= (level := int(value)) <= MAX_NOISE_LEVEL:
        raise UsageError(
            f"noise_level must be a whole number from 0 to {MAX_NOISE_LEVEL}, not {value!r}."
        )
    return level
