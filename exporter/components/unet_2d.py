"""The U-Net of the original latent diffusion models: `UNet2DModel`, which is told no text.

R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import UNet2DModel  # pyright: ignore[reportPrivateImportUsage]

from exporter.components.base import Component, Config, fields, parameters_of, port
from exporter.components.old_attention import renamed
from exporter.errors import SourceError
from runtimes.manifest import Port

_SUPPORTED: dict[str, tuple[object, ...]] = {
    "center_input_sample": (None, False),
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "time_embedding_type": ("positional",),
}
"""Config fields that change what goes in or comes out, and the values that are supported."""


class UNet2D(Component):
    """`sample` and `timestep` → `out_sample`."""

    name = "unet"
    wrapper = "unet_2d"
    source = "unet"
    classes = ("UNet2DModel",)

    def check(self, config: Config) -> None:
        """Refuses U-Nets with other inputs than `inputs` lists."""
        super().check(config)
        for field, values in _SUPPORTED.items():
            if field in config and config[field] not in values:
                raise SourceError(
                    f"unet/config.json: {field} is {config[field]!r}, which is not supported; "
                    f"supported: {' and '.join(map(repr, values))}."
                )

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of `UNet2DModel`."""
        return {"_class_name": self.classes[0], **fields(parameters_of(UNet2DModel), config)}

    def build(self, config: Config) -> torch.nn.Module:
        """The U-Net; diffusers names its parameters as its files do."""
        return cast("torch.nn.Module", UNet2DModel.from_config(dict(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The U-Net without its output dataclass."""
        del config
        return _Flat(network)

    def canonical(self, key: str) -> str:
        """Today's name of the attention's weights."""
        return renamed(key)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Latents, and channels beside them, [b, c, h, w], and the timestep [1], both float32."""
        channels = int(config["in_channels"])
        return (
            port("sample", "float32", "batch", channels, "height", "width"),
            port("timestep", "float32", 1),
        )

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The prediction [b, c, h, w], float32."""
        channels = int(config["out_channels"])
        return (port("out_sample", "float32", "batch", channels, "height", "width"),)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """3 and 5 of the multiples that each side must be of."""
        multiple = _multiple(config)
        return {"batch": 2, "height": 3 * multiple, "width": 5 * multiple}

    def multiples(self, config: Config) -> Mapping[str, int]:
        """Its way up doubles what its way down halved, and meets other sizes than went down."""
        return dict.fromkeys(("height", "width"), _multiple(config))


def _multiple(config: Config) -> int:
    return 2 ** (len(config["block_out_channels"]) - 1)


class _Flat(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return self.network(sample, timestep, return_dict=False)[0]
