"""Pictures to latents: the VAE encoder, and the draw from the distribution that it gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtimes import vae
from runtimes.latents import from_encoder
from runtimes.noise import Generator
from runtimes.tasks.task import Call
from runtimes.vae import tile_of

Floats = NDArray[np.float32]

LOGVAR_MIN, LOGVAR_MAX = np.float32(-30), np.float32(20)


def encode(call: Call, pixels: Floats) -> Floats:
    """Latents of pictures, in the U-Net's scale.

    TAESD and VQ encoders give latents; AutoencoderKL's a distribution of them.

    Args:
        call: whose VAE encoder and generator are used; one draw for all pictures.
        pixels: [n, 3, height, width] in [-1, 1].

    Returns:
        [n, channels, h, w].

    Raises:
        EngineError: the encoder failed or gave NaN.
    """
    found, certain = _encoded(call, pixels)
    latents = found if certain else drawn(found, call.generator)
    return from_encoder(latents, call.bundle.manifest.latents)


def encode_mode(call: Call, pixels: Floats) -> Floats:
    """The likeliest latents of pictures, as the VAE encoder gives them; nothing is drawn.

    Args, raises: as of `encode`.

    Returns:
        [n, channels, h, w], not scaled.
    """
    found, certain = _encoded(call, pixels)
    return found if certain else np.split(found, 2, axis=1)[0]


def _encoded(call: Call, pixels: Floats) -> tuple[Floats, bool]:
    """What the encoder gives, and whether these are latents rather than a distribution's."""
    with call.use("vae_encoder") as encoder, call.watch.lap("vae_encoder"):
        tile = tile_of(call.bundle, "vae_encoder", call.settings)
        found = vae.encode(encoder, pixels, call.bundle.manifest.latents, tile)
        return found, encoder.output.role == "latents"


def drawn(parameters: Floats, generator: Generator) -> Floats:
    """Latents from the encoder's distribution: D. Kingma and M. Welling, 2014, section 2.4.

    Args:
        parameters: means and log variances, one after the other in the channels: [n, 2c, h, w].
        generator: of the unit noise.
    """
    mean, logvar = np.split(parameters, 2, axis=1)
    deviation = np.exp(np.float32(0.5) * np.clip(logvar, LOGVAR_MIN, LOGVAR_MAX))
    return mean + deviation * generator.randn(mean.shape)
