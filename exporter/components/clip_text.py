"""CLIP's text encoder with its projection into the space that it shares with pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from transformers import CLIPTextModelWithProjection

from exporter.components.base import Array, Component, Config, port
from exporter.components.text_encoder import TextEncoder, pooled_state, text_config
from runtimes.manifest import Port


class ClipText(Component):
    """`input_ids` → `text_embeds`: the state at the first end of the text, projected.

    Not divided by its length. What pads behind the end has no part in it: the mask is causal.
    """

    name = "clip_text"
    source = "text_model"
    classes = ("CLIPTextModelWithProjection",)

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of CLIP's text model."""
        return {**TextEncoder().normalise(config), "architectures": [self.classes[0]]}

    def build(self, config: Config) -> torch.nn.Module:
        """The text model and its projection."""
        return cast("torch.nn.Module", CLIPTextModelWithProjection(text_config(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The projected state alone, taken at the tokenizer's own end of a text."""
        return _Projected(network, int(config["eos_token_id"]))

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Token ids [b, 77], int64."""
        return TextEncoder().inputs(config)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Embeddings [b, p], float32."""
        return (port("text_embeds", "float32", "batch", int(config["projection_dim"])),)

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """Only the batch is free."""
        del config
        return {"batch": 2}

    def buffers(self, config: Config) -> Mapping[str, Array]:
        """Positions, which files of older versions hold and newer ones don't."""
        return TextEncoder().buffers(config)

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What transformers itself returns, its own pooling included."""
        del config
        return {"text_embeds": cast("Any", network)(feeds["input_ids"]).text_embeds}


class _Projected(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, eos_token_id: int) -> None:
        super().__init__()
        self.network: Any = network
        self.eos_token_id = eos_token_id

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        last = self.network.text_model(input_ids).last_hidden_state
        return self.network.text_projection(pooled_state(last, input_ids, self.eos_token_id))
