"""OpenCLIP's text encoder, as SD 2.x stores it → Diffusers keys. SD 1.x has Diffusers' own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from exporter.weights import Tensor

_PREFIX = "text_model."
_PLAIN = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)$")
_PACKED = re.compile(r"attn\.in_proj_(weight|bias)$")
_WHOLE_LAYERS = 24

HEADS = ("text_projection", "logit_scale", "attn_mask")
"""What OpenCLIP has beside the states that a U-Net takes."""


def rename_text(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Renames OpenCLIP's text tower and leaves out its last layer.

    Stable Diffusion 2 is conditioned on the penultimate layer's states, so Diffusers' text encoder
    ends there: 23 layers of ViT-H's 24. A tower without its projection and with another number
    of layers was cut before, and keeps them all.

    Args:
        tensors: by original key without prefix.

    Returns:
        Diffusers key → tensor; keys that are not needed; keys that are unknown.
    """
    found: dict[str, Tensor] = {}
    unused: list[str] = []
    unknown: list[str] = []
    numbers = {int(match[1]) for match in map(_BLOCK.match, tensors) if match}
    whole = "text_projection" in tensors or len(numbers) == _WHOLE_LAYERS
    dropped = max(numbers, default=0) if whole else None
    for key, tensor in tensors.items():
        block = _BLOCK.match(key)
        if key in HEADS or (block and int(block[1]) == dropped):
            unused.append(key)
        elif key in _PLAIN:
            found[_PREFIX + _PLAIN[key]] = tensor
        elif block and (renamed := _layer(block[2], tensor)) is not None:
            layer = f"{_PREFIX}encoder.layers.{block[1]}."
            found |= {layer + name: part for name, part in renamed.items()}
        else:
            unknown.append(key)
    return found, unused, unknown


def _layer(key: str, tensor: Tensor) -> dict[str, Tensor] | None:
    packed = _PACKED.match(key)
    if packed:
        return {
            f"self_attn.{letter}_proj.{packed[1]}": part
            for letter, part in zip("qkv", _thirds(tensor), strict=True)
        }
    module, _, leaf = key.rpartition(".")
    return {f"{_LAYER[module]}.{leaf}": tensor} if module in _LAYER else None


def _thirds(tensor: Tensor) -> list[Tensor]:
    """Queries, keys and values, which lie one after the other: rows of one matrix."""
    shape = (tensor.shape[0] // 3, *tensor.shape[1:])
    third = replace(tensor, shape=shape)
    size_bytes = third.size_bytes
    return [replace(third, offset=tensor.offset + n * size_bytes) for n in range(3)]
