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
    with call.parts.use("vae_encoder", call.watch) as encoder, call.watch.lap("vae_encoder"):
        tile = tile_of(call.bundle, "vae_encoder", call.settings)
        found = vae.encode(encoder, pixels, call.bundle.manifest.latents, tile)
        certain = encoder.output.role == "latents"
    latents = found if certain else drawn(found, call.generator)
    return from_encoder(latents, call.bundle.manifest.latents)


def drawn(parameters: Floats, generator: Generator) -> Floats:
    """Latents from the encoder's distribution: D. Kingma and M. Welling, 2014, section 2.4.

    Args:
        parameters: means and log variances, one after the other in the channels: [n, 2c, h, w].
        generator: of the unit noise.
    """
    mean, logvar = np.split(parameters, 2, axis=1)
    deviation = np.exp(np.float32(0.5) * np.clip(logvar, LOGVAR_MIN, LOGVAR_MAX))
    return mean + deviation * generator.randn(mean.shape)
