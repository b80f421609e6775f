"""The two halves of a model's autoencoder: decoder and encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch

from exporter.components.autoencoders import AUTOENCODERS, Autoencoder, autoencoder, vae_factor
from exporter.components.base import (
    Component,
    Config,
    class_name,
    fields,
    parameters_of,
    port,
)
from exporter.components.old_attention import renamed
from exporter.errors import SourceError
from runtimes.manifest import Port


class _Half(Component):
    source = "vae"
    classes = tuple(AUTOENCODERS)

    def check(self, config: Config) -> None:
        """Refuses autoencoders of another class, or with options that the wrappers don't cover."""
        super().check(config)
        for field, values in autoencoder(config).supported.items():
            if field in config and config[field] not in values:
                raise SourceError(
                    f"vae/config.json: {field} is {config[field]!r}, which is not supported; "
                    f"supported: {' and '.join(map(repr, values))}."
                )

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of the autoencoder's class."""
        known = parameters_of(autoencoder(config).network)
        return {"_class_name": class_name(config), **fields(known, config)}

    def build(self, config: Config) -> torch.nn.Module:
        """The whole autoencoder; a half uses its own part of the weights."""
        return cast("torch.nn.Module", autoencoder(config).network.from_config(dict(config)))

    def canonical(self, key: str) -> str:
        """Today's name of the attention's weights."""
        return renamed(key)

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
        """All that lies between latents and picture."""
        return _Decode(network, autoencoder(config))

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Latents [b, c, h, w], float32."""
        channels = int(config["latent_channels"])
        return (port("latent_sample", "float32", "batch", channels, "height", "width"),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The picture [b, 3, H, W], float32."""
        channels = int(config["out_channels"])
        return (port("sample", "float32", "batch", channels, "image_height", "image_width"),)

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What diffusers itself returns."""
        del config
        decoded = cast("Any", network).decode(feeds["latent_sample"], return_dict=False)
        return {"sample": decoded[0]}


class VaeEncoder(_Half):
    """`sample`, a picture in [-1, 1] → `latent_parameters` or `latents`, not scaled.

    `latent_parameters` are mean and log variance, of `AutoencoderKL`; the others have no
    distribution and give latents.
    """

    name = "vae_encoder"

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """All that lies between picture and latents; the caller samples where there is a law."""
        return _Encode(network, autoencoder(config))

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """The picture [b, 3, H, W], float32."""
        channels = int(config["in_channels"])
        return (port("sample", "float32", "batch", channels, "image_height", "image_width"),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Latents [b, c, h, w]; or mean and log variance, [b, 2c, h, w]; float32."""
        encoded = autoencoder(config).encoded
        channels = int(config["latent_channels"]) * (2 if encoded == "latent_parameters" else 1)
        return (port(encoded, "float32", "batch", channels, "height", "width"),)


class _Decode(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, kind: Autoencoder) -> None:
        super().__init__()
        self.network: Any = network
        self.kind = kind

    def forward(self, latent_sample: torch.Tensor) -> torch.Tensor:
        return self.kind.decode(self.network, latent_sample)


class _Encode(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, kind: Autoencoder) -> None:
        super().__init__()
        self.network: Any = network
        self.kind = kind

    def forward(self, sample: torch.Tensor) -> torch.Tensor:
        encoded = self.network.encode(sample, return_dict=False)[0]
        # Mean and variance come as a distribution object; its parameters are what was put in.
        return encoded.parameters if self.kind.encoded == "latent_parameters" else encoded
