"""The autoencoders that may stand for a model's VAE, by their class in diffusers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from diffusers import (
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    AutoencoderTiny,  # pyright: ignore[reportPrivateImportUsage]
    VQModel,  # pyright: ignore[reportPrivateImportUsage]
)

from exporter.components.base import Config, class_name

Encoded = Literal["latent_parameters", "latents"]


@dataclass(frozen=True)
class Autoencoder:
    """A kind of autoencoder.

    Attributes:
        network: its class.
        encoded: what its encoder gives: mean and log variance of a normal distribution, one after
            the other in the channels, or latents.
        supported: config field → the values that the wrappers cover.
        decode: (network, latents) → picture, as a capture can hold it.
    """

    network: type[Any]
    encoded: Encoded
    supported: Mapping[str, tuple[object, ...]]
    decode: Callable[[Any, torch.Tensor], torch.Tensor]


def _decode(network: Any, latents: torch.Tensor) -> torch.Tensor:
    return network.decode(latents, return_dict=False)[0]


def _quantised(network: Any, latents: torch.Tensor) -> torch.Tensor:
    """Decodes the codebook's nearest vectors, as diffusers' `VQModel.decode` does.

    A. van den Oord et al., "Neural Discrete Representation Learning", 2017, equation 1. The
    distance is |z|² - 2 z·e + |e|², of which |z|² is the same for all vectors e.
    """
    codebook = network.quantize.embedding.weight
    z = latents.permute(0, 2, 3, 1)
    distances = (codebook * codebook).sum(dim=1) - 2 * (z @ codebook.t())
    nearest = torch.nn.functional.embedding(distances.argmin(dim=-1), codebook)
    return network.decoder(network.post_quant_conv(nearest.permute(0, 3, 1, 2)))


AUTOENCODERS: Mapping[str, Autoencoder] = {
    "AutoencoderKL": Autoencoder(AutoencoderKL, "latent_parameters", {}, _decode),
    # TAESD: O. B. Bohan, "Tiny AutoEncoder for Stable Diffusion". Its decoder limits the latents
    # by itself, and takes them as the U-Net leaves them.
    "AutoencoderTiny": Autoencoder(
        AutoencoderTiny, "latents", {"upsampling_scaling_factor": (2,)}, _decode
    ),
    "VQModel": Autoencoder(VQModel, "latents", {"norm_type": ("group",)}, _quantised),
}
"""Class → kind."""


def autoencoder(config: Config) -> Autoencoder:
    """The kind that a config is of, which was checked."""
    return AUTOENCODERS[class_name(config)]


def vae_factor(config: Config) -> int:
    """Pixels per latent cell, in each direction."""
    names = ("block_out_channels", "decoder_block_out_channels")
    levels = next(cast("list[int]", config[name]) for name in names if config.get(name))
    return 2 ** (len(levels) - 1)
