"""Larger pictures from small ones or their latents, twice as high and wide: the latent upscaler.

K. Crowson's upscaler for Stable Diffusion: its U-Net has the preconditioning of T. Karras et al.,
"Elucidating the Design Space of Diffusion-Based Generative Models", 2022, table 1, sees the small
latents beside the noisy ones, and is told the pooled text embedding beside those of the tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtimes.bundle import Bundle
from runtimes.engine import Array
from runtimes.errors import BundleError, UsageError
from runtimes.guidance.embedding import ROLE, embedded_width
from runtimes.image_latents import read_image_latents
from runtimes.latents import built_cells
from runtimes.picture_input import Read, size_of
from runtimes.preprocess import check_sizes, floored, to_sample
from runtimes.prompts.encoders import POOLER, text_encoders
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_number, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start
from runtimes.vae_codec import encode

Floats = NDArray[np.float32]

SCALE = 2
CELLS = 4
"""Sides of latents are multiples of it: the U-Net halves twice as many cells three times."""
_FREQUENCIES = 64


class LatentUpscaling:
    """As diffusers' StableDiffusionLatentUpscalePipeline."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: the text is plain, and the picture of half the size."""
        _check_networks(bundle)
        _check_text(settings, inputs)
        sizes = _sizes(bundle, inputs)
        check_number(
            "image" if inputs.given.image_latents is None else "image_latents",
            len(sizes),
            len(settings.prompt),
            "prompts",
        )
        for height, width in sizes:
            if (height * SCALE, width * SCALE) != (settings.height, settings.width):
                raise UsageError(
                    f"an image of {width}×{height} pixels becomes one of "
                    f"{width * SCALE}×{height * SCALE}, not {settings.width}×{settings.height}; "
                    "leave height and width out, and give images of one size."
                )
        if inputs.given.image_latents is None:
            _check_encoder(bundle, settings)
            images = inputs.image
            check_sizes(images, settings.height // SCALE, settings.width // SCALE)
        check_noise(bundle, settings, inputs)

    def start(self, call: Call) -> Start:
        """See `Task.start`. The VAE's draw comes before the latents', as in diffusers."""
        small = _small_latents(call)
        noise = start_noise(call)
        wide = small.repeat(SCALE, axis=2).repeat(SCALE, axis=3)
        return Start(
            x=noise * np.float32(call.sampler.init_noise_sigma(call.levels)),
            concat=spread(wide, call.settings.count),
            of_text=told,
        )


def told(pooled: Floats) -> dict[str, Array]:
    """What the U-Net is told beside the timestep: that the small latents are clean, and the text.

    Args:
        pooled: text embeddings [n, d].

    Returns:
        `timestep_cond` [n, 128 + d]: the Fourier features of noise level 0, 64 cosines and 64
        sines, then the pooled embedding.
    """
    ones = np.ones((len(pooled), _FREQUENCIES), np.float32)
    return {ROLE: np.concatenate([ones, np.zeros_like(ones), pooled], axis=1)}


def upscaled_size(bundle: Bundle, inputs: ReadInputs) -> tuple[int, int]:
    """Height and width in pixels of what a call's first picture becomes.

    Raises:
        UsageError: the picture, or the latents, can't be taken.
    """
    height, width = _sizes(bundle, inputs)[0]
    return height * SCALE, width * SCALE


def _sizes(bundle: Bundle, inputs: ReadInputs) -> list[tuple[int, int]]:
    """Heights and widths in pixels at which the small pictures are taken."""
    space = bundle.manifest.latents
    if inputs.given.image_latents is not None:
        found = read_image_latents(inputs.given.image_latents, space.channels, CELLS)
        height, width = (side * space.vae_factor for side in found.shape[2:])
        return [(height, width)] * len(found)
    return [_taken(image, CELLS * space.vae_factor) for image in inputs.image]


def _taken(image: Read, multiple: int) -> tuple[int, int]:
    height, width = size_of(image)
    if min(height, width) < multiple:
        raise UsageError(
            f"an image of {width}×{height} pixels is too small; each side must be {multiple} or "
            "more."
        )
    return floored(height, multiple), floored(width, multiple)


def _small_latents(call: Call) -> Floats:
    given, space = call.inputs.given.image_latents, call.bundle.manifest.latents
    if given is not None:
        return read_image_latents(given, space.channels, CELLS)
    height, width = call.settings.height // SCALE, call.settings.width // SCALE
    images = call.inputs.image
    bicubic = Image.Resampling.BICUBIC
    return encode(call, np.stack([to_sample(each, height, width, bicubic) for each in images]))


def _check_networks(bundle: Bundle) -> None:
    """Refuses a text encoder and a U-Net that don't go together."""
    encoder, unet = bundle.graph("text_encoder"), bundle.graph("unet")
    text_encoders(bundle)
    pooled = next((port for port in encoder.outputs if port.role == POOLER), None)
    width = embedded_width(unet)
    if pooled is None or width is None:
        lacks = f"{POOLER} of the text encoder" if pooled is None else f"{ROLE} of the U-Net"
        raise BundleError(f"{bundle.path} lacks the {lacks}. Export it again.")
    wanted = width - 2 * _FREQUENCIES
    if pooled.shape[-1] != wanted:
        raise BundleError(
            f"{bundle.path}: the text encoder's {POOLER} is {pooled.shape[-1]} wide, the U-Net "
            f"takes {wanted}; they belong to different models."
        )


def _check_text(settings: Settings, inputs: ReadInputs) -> None:
    """Refuses what changes text embeddings: nothing says what the pooled one would be."""
    if settings.embeddings_sha256 is not None or inputs.given.prompt_embeds is not None:
        raise UsageError(
            "prompt_embeds have no pooled embedding, which latent-upscaling takes too; give "
            "prompts."
        )
    for name, plain in (("prompt_syntax", "plain"), ("long_prompts", "truncate"), ("clip_skip", 0)):
        value = getattr(settings, name)
        if value != plain:
            raise UsageError(
                f"{name} {value!r} says nothing of the pooled text embedding, which "
                f"latent-upscaling takes too; leave {name} out."
            )


def _check_encoder(bundle: Bundle, settings: Settings) -> None:
    """Refuses a VAE encoder that is absent, or was built for more than the small picture."""
    factor = bundle.manifest.latents.vae_factor
    small = (settings.height // SCALE // factor, settings.width // SCALE // factor)
    for cells, built in zip(small, built_cells(bundle, "vae_encoder"), strict=True):
        if built is not None and cells < built:
            raise BundleError(
                f"{bundle.path}: the VAE encoder was built for {built * factor} pixels, and the "
                f"image has {cells * factor}. Compile without fixed sizes, or give image_latents."
            )
