"""The two halves of `AutoencoderKL`: decoder and encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]

from exporter.components.base import Component, Config, fields, parameters_of, port
from runtimes.manifest import Port

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The VAE's attention as diffusers named it before 0.15 → today's names."""


class _Half(Component):
    source = "vae"
    classes = ("AutoencoderKL",)

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of `AutoencoderKL`."""
        return {"_class_name": self.classes[0], **fields(parameters_of(AutoencoderKL), config)}

    def build(self, config: Config) -> torch.nn.Module:
        """The whole autoencoder; a half uses its own part of the weights."""
        return cast("torch.nn.Module", AutoencoderKL.from_config(dict(config)))

    def canonical(self, key: str) -> str:
        """Today's name: files from before diffusers 0.15 name the attention's weights otherwise."""
        parts = key.split(".")
        if "attentions" in parts and parts[-2] in _OLD_ATTENTION:
            parts[-2] = _OLD_ATTENTION[parts[-2]]
        return ".".join(parts)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """Odd latents, and pictures of that size times the VAE's factor."""
        factor = vae_factor(config)
        return {
            "batch": 2,
            "height": 33,
            "width": 35,
            "image_height": 33 * factor,
            "image_width": 35 * factor,
        }


class VaeDecoder(_Half):
    """`latent_sample`, already divided by the scaling factor → `sample`, a picture in [-1, 1]."""

    name = "vae_decoder"

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """Post-quantisation convolution and decoder."""
        del config
        return _Decode(network)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Latents [b, c, h, w], float32."""
        channels = int(config["latent_channels"])
        return (port("latent_sample", "float32", "batch", channels, "height", "width"),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The picture [b, 3, H, W], float32."""
        channels = int(config["out_channels"])
        return (port("sample", "float32", "batch", channels, "image_height", "image_width"),)


class VaeEncoder(_Half):
    """`sample`, a picture in [-1, 1] → `latent_parameters`: mean and log variance."""

    name = "vae_encoder"

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """Encoder and quantisation convolution; the caller samples."""
        del config
        return _Encode(network)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """The picture [b, 3, H, W], float32."""
        channels = int(config["in_channels"])
        return (port("sample", "float32", "batch", channels, "image_height", "image_width"),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Mean and log variance, one after the other in the channels: [b, 2c, h, w], float32."""
        channels = 2 * int(config["latent_channels"])
        return (port("latent_parameters", "float32", "batch", channels, "height", "width"),)


class _Decode(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
        return self.network.decode(latent_sample, return_dict=False)[0]


class _Encode(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        # `encode` wraps its moments in a distribution object; its parameters are what was put in.
        return self.network.encode(sample, return_dict=False)[0].parameters


def vae_factor(config: Config) -> int:
    """Pixels per latent cell, in each direction."""
    return 2 ** (len(config["block_out_channels"]) - 1)
