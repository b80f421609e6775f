"""The U-Net of Stable Diffusion: `UNet2DConditionModel` conditioned on text embeddings.

One that was distilled to guide itself (time_cond_proj_dim) takes the guidance scale's embedding
too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel  # pyright: ignore[reportPrivateImportUsage]

from exporter.components.base import Component, Config, fields, parameters_of, port, uniform
from exporter.errors import SourceError
from runtimes.guidance.embedding import ROLE
from runtimes.manifest import Port

_PLAIN: dict[str, tuple[object, ...]] = {
    "addition_embed_type": (None,),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "num_class_embeds": (None,),
    "center_input_sample": (None, False),
}
"""Config fields that add inputs to the network, and the values with which they add none."""

_PER_LEVEL = (
    "attention_head_dim",
    "cross_attention_dim",
    "layers_per_block",
    "num_attention_heads",
    "only_cross_attention",
    "transformer_layers_per_block",
)
"""Fields that have one value for all levels, or a list with one for each."""


class UNet(Component):
    """`sample`, `timestep`, `encoder_hidden_states`, some `timestep_cond` → `out_sample`."""

    name = "unet"
    source = "unet"
    classes = ("UNet2DConditionModel",)

    def check(self, config: Config) -> None:
        """Refuses U-Nets with inputs beyond those of `inputs`."""
        super().check(config)
        for field, plain in _PLAIN.items():
            if config.get(field) not in plain:
                raise SourceError(
                    f"unet/config.json: {field} is {config[field]!r}, which is not supported; "
                    f"supported: {plain[0]!r}."
                )

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of `UNet2DConditionModel`; per-level lists of one value as that value."""
        found = fields(parameters_of(UNet2DConditionModel), config)
        found |= {name: uniform(found[name]) for name in _PER_LEVEL}
        return {"_class_name": self.classes[0], **found}

    def build(self, config: Config) -> torch.nn.Module:
        """The U-Net; diffusers names its parameters as its files do."""
        return cast("torch.nn.Module", UNet2DConditionModel.from_config(dict(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The U-Net without its output dataclass."""
        del config
        return _Flat(network)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Latents [b, c, h, w], the timestep [1] and text embeddings [b, s, d], all float32.

        Where the config has a time_cond_proj_dim, the guidance scale's embedding [b, p].
        """
        width = config.get("time_cond_proj_dim")
        return (
            port("sample", "float32", "batch", int(config["in_channels"]), "height", "width"),
            port("timestep", "float32", 1),
            port(
                "encoder_hidden_states",
                "float32",
                "batch",
                "sequence",
                int(config["cross_attention_dim"]),
            ),
            *([] if width is None else [port(ROLE, "float32", "batch", int(width))]),
        )

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """The prediction [b, c, h, w], float32."""
        channels = int(config["out_channels"])
        return (port("out_sample", "float32", "batch", channels, "height", "width"),)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """63 × 65 latents: odd, so that the captured graph holds for every size."""
        del config
        return {"batch": 2, "height": 63, "width": 65, "sequence": 77}


class _Flat(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        timestep_cond: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.network(
            sample,
            timestep,
            encoder_hidden_states,
            timestep_cond=timestep_cond,
            return_dict=False,
        )[0]
