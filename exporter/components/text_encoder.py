"""The CLIP text encoders: ViT-L/14 of SD 1.x and OpenCLIP ViT-H/14 of SD 2.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from exporter.components.base import Array, Component, Config, fields, port
from runtimes.manifest import Port
from runtimes.prompts.encoders import NORMALISED

PREFIX = "text_model."
"""Public checkpoints name CLIP's weights with it, transformers from 5.6 on without."""


class TextEncoder(Component):
    """`input_ids` → `last_hidden_state`, `pooler_output`, hidden and normalised states by layer.

    `last_hidden_state` is normalised, `hidden_states.N` are not (0 is the embedding, L the last
    layer; L - 1 the penultimate). `normalised_states.N` are, for all layers but the last: what
    clip_skip takes. They come last, for readers that know outputs by their place. The pooled state
    stands at the first EOS token itself rather than at the largest id, so that tokens appended to
    the embedding table don't move it.
    """

    name = "text_encoder"
    source = "text_encoder"
    classes = ("CLIPTextModel",)

    def normalise(self, config: Config) -> dict[str, Any]:
        """The fields of CLIP's text model, without those that every transformers config has."""
        own = {name: getattr(CLIPTextConfig, name) for name in CLIPTextConfig.__annotations__}
        return {
            "architectures": [self.classes[0]],
            "model_type": CLIPTextConfig.model_type,
            **fields(own, config),
        }

    def build(self, config: Config) -> torch.nn.Module:
        """The text model without pretraining heads."""
        return cast("torch.nn.Module", CLIPTextModel(text_config(config)))

    def wrap(self, network: torch.nn.Module, config: Config) -> torch.nn.Module:
        """The text model with its states as a flat tuple."""
        return _Flat(network, int(config["eos_token_id"]))

    def inputs(self, config: Config) -> tuple[Port, ...]:
        """Token ids [b, 77], int64."""
        return (port("input_ids", "int64", "batch", int(config["max_position_embeddings"])),)

    def outputs(self, config: Config) -> tuple[Port, ...]:
        """Hidden states [b, 77, d] and the pooled state [b, d], float32."""
        length, size = int(config["max_position_embeddings"]), int(config["hidden_size"])
        states = range(int(config["num_hidden_layers"]) + 1)
        return (
            port("last_hidden_state", "float32", "batch", length, size),
            port("pooler_output", "float32", "batch", size),
            *(port(f"hidden_states.{n}", "float32", "batch", length, size) for n in states),
            *(port(f"{NORMALISED}{n}", "float32", "batch", length, size) for n in states[:-1]),
        )

    def example_sizes(self, config: Config) -> Mapping[str, int]:
        """Only the batch is free: CLIP's positions fix the length."""
        del config
        return {"batch": 2}

    def canonical(self, key: str) -> str:
        """The key with the prefix that public checkpoints have."""
        return key if key.startswith(PREFIX) else PREFIX + key

    def buffers(self, config: Config) -> Mapping[str, Array]:
        """Positions 0 … 76, which transformers registers as a buffer that it doesn't save."""
        length = int(config["max_position_embeddings"])
        key = f"{PREFIX}embeddings.position_ids"
        return {key: np.arange(length, dtype=np.int64)[np.newaxis]}

    def reference(
        self, network: torch.nn.Module, config: Config, feeds: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """What transformers itself returns, its own pooling included."""
        del config
        out = cast("Any", network)(feeds["input_ids"], output_hidden_states=True)
        states = {f"hidden_states.{n}": state for n, state in enumerate(out.hidden_states)}
        last, pooled = out.last_hidden_state, out.pooler_output
        norm = cast("Any", network).final_layer_norm
        normalised = {
            f"{NORMALISED}{n}": norm(state) for n, state in enumerate(out.hidden_states[:-1])
        }
        return {"last_hidden_state": last, "pooler_output": pooled, **states, **normalised}


class _Flat(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, eos_token_id: int) -> None:
        super().__init__()
        self.network: Any = network
        self.eos_token_id = eos_token_id

    def forward(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = self.network(input_ids, output_hidden_states=True)
        last = out.last_hidden_state
        pooled = pooled_state(last, input_ids, self.eos_token_id)
        normalised = map(self.network.final_layer_norm, out.hidden_states[:-1])
        return last, pooled, *out.hidden_states, *normalised


def pooled_state(states: torch.Tensor, input_ids: torch.Tensor, eos_token_id: int) -> torch.Tensor:
    """The states [b, s, d] at the first end of each text: [b, d]."""
    position = (input_ids == eos_token_id).to(torch.int64).argmax(dim=-1, keepdim=True)
    index = position.unsqueeze(-1).expand(-1, 1, states.shape[-1])
    return states.gather(1, index).squeeze(1)


def text_config(config: Config) -> CLIPTextConfig:
    """The text config with scaled-dot-product attention, whatever the file says."""
    fields: dict[str, Any] = {k: v for k, v in config.items() if not k.startswith("_")}
    fields["attn_implementation"] = "sdpa"
    return CLIPTextConfig(**fields)
