"""SDXL's second text encoder: OpenCLIP ViT-bigG/14 with its projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from transformers import CLIPTextModelWithProjection

from exporter.components.base import Config, port
from exporter.components.text_encoder import TextEncoder, pooled_state, text_config
from runtimes.manifest import Port


class TextEncoder2(TextEncoder):
    """`input_ids` → `last_hidden_state`, `text_embeds`, hidden states by layer.

    SDXL takes `hidden_states.N` as they are, the penultimate where nothing else is said, and
    normalises none. `text_embeds` is the last state, normalised, at the first end of the text, and
    projected; it is not divided by its length.
    """

    name = "text_encoder_2"
    source = "text_encoder_2"
    classes = ("CLIPTextModelWithProjection",)

    def build(self, config: Config) -> torch.nn.Module:
        """The text model and its projection."""
        return cast("torch.nn.Module", CLIPTextModelWithProjection(text_config(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The states as a flat tuple, pooled at the tokenizer's own end of a text."""
        return _Flat(network, int(config["eos_token_id"]))

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Hidden states [b, 77, d] and the projected pooled state [b, p], float32."""
        length, size = int(config["max_position_embeddings"]), int(config["hidden_size"])
        states = range(int(config["num_hidden_layers"]) + 1)
        return (
            port("last_hidden_state", "float32", "batch", length, size),
            port("text_embeds", "float32", "batch", int(config["projection_dim"])),
            *(port(f"hidden_states.{n}", "float32", "batch", length, size) for n in states),
        )

    def canonical(self, key: str) -> str:
        """The key itself: transformers of every version has the prefix where there is a head."""
        return key

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What transformers itself returns, its own pooling included."""
        del config
        out = cast("Any", network)(feeds["input_ids"], output_hidden_states=True)
        states = {f"hidden_states.{n}": state for n, state in enumerate(out.hidden_states)}
        return {
            "last_hidden_state": out.last_hidden_state,
            "text_embeds": out.text_embeds,
            **states,
        }


class _Flat(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, eos_token_id: int) -> None:
        super().__init__()
        self.network: Any = network
        self.eos_token_id = eos_token_id

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = self.network.text_model(input_ids, output_hidden_states=True)
        last = out.last_hidden_state
        pooled = pooled_state(last, input_ids, self.eos_token_id)
        return last, self.network.text_projection(pooled), *out.hidden_states
