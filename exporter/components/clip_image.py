"""CLIP's image encoder with its projection into the space that it shares with texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from exporter.components.base import Array, Component, Config, fields, port
from runtimes.manifest import Port


class ClipImage(Component):
    """`pixel_values`, as `runtimes.clip_pixels` prepares them → `image_embeds`.

    The embeddings are not divided by their length.
    """

    name = "clip_image"
    source = "vision_model"
    classes = ("CLIPVisionModelWithProjection",)

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of CLIP's vision model."""
        own = {name: getattr(CLIPVisionConfig, name) for name in CLIPVisionConfig.__annotations__}
        return {
            "architectures": [self.classes[0]],
            "model_type": CLIPVisionConfig.model_type,
            **fields(own, config),
        }

    def build(self, config: Config) -> torch.nn.Module:
        """The vision model and its projection, with scaled-dot-product attention."""
        given: dict[str, Any] = {k: v for k, v in config.items() if not k.startswith("_")}
        given["attn_implementation"] = "sdpa"
        return cast("torch.nn.Module", CLIPVisionModelWithProjection(CLIPVisionConfig(**given)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The projected state of the class token alone."""
        del config
        return _Projected(network)

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """A picture [b, 3, S, S], float32: CLIP's positions fix its size."""
        channels, size = int(config["num_channels"]), int(config["image_size"])
        return (port("pixel_values", "float32", "batch", channels, size, size),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Embeddings [b, p], float32."""
        return (port("image_embeds", "float32", "batch", int(config["projection_dim"])),)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """Only the batch is free."""
        del config
        return {"batch": 2}

    def buffers(self, config: Config) -> Mapping[str, Array]:
        """Positions of the patches and of the class token before them."""
        patches = (int(config["image_size"]) // int(config["patch_size"])) ** 2
        positions = np.arange(patches + 1, dtype=np.int64)[np.newaxis]
        return {"vision_model.embeddings.position_ids": positions}

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What transformers itself returns."""
        del config
        return {"image_embeds": cast("Any", network)(feeds["pixel_values"]).image_embeds}


class _Projected(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values).image_embeds
