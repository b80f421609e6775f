"""The text encoders' keys → Diffusers keys: OpenCLIP's own naming, and transformers'.

SD 1.x and SDXL's first encoder are stored under transformers' names, SD 2.x and SDXL's second under
OpenCLIP's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from exporter.weights import Tensor

_PREFIX = "text_model."
_PROJECTION = "text_projection.weight"
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

_PROJECTIONS = ("text_projection", _PROJECTION)
"""OpenCLIP's matrix, and as some tools write it: as `torch.nn.Linear` has it, the transpose."""

_HEADS = (*_PROJECTIONS, "logit_scale", "attn_mask")
"""What OpenCLIP has beside the states that a U-Net takes."""

_CLIP_HEADS = re.compile(r"(text_model\.)?(text_projection\.weight|logit_scale)$")


@dataclass
class Renamed:
    """A text encoder's weights under Diffusers keys, and what is none of them.

    Attributes:
        found: Diffusers key → tensor.
        unused: original keys that are not needed.
        unknown: original keys that no text encoder has.
    """

    found: dict[str, Tensor] = field(default_factory=dict[str, Tensor])
    unused: list[str] = field(default_factory=list[str])
    unknown: list[str] = field(default_factory=list[str])


Rename = Callable[[Mapping[str, Tensor]], Renamed]
"""Takes an encoder's tensors by original key without prefix."""


def rename_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """Of an encoder under transformers' names: what SD 1.x takes, all but the heads."""
    renamed = Renamed(dict(tensors))
    renamed.unused = [key for key in tensors if _CLIP_HEADS.match(key)]
    for key in renamed.unused:
        del renamed.found[key]
    return renamed


def rename_projected_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """The same with its projection, which SDXL takes of its second encoder."""
    renamed = rename_clip(tensors)
    if _PROJECTION in tensors:
        renamed.found[_PROJECTION] = tensors[_PROJECTION]
        renamed.unused.remove(_PROJECTION)
    return renamed


def rename_open_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """OpenCLIP's text tower without its last layer and its heads: what SD 2.x takes.

    Stable Diffusion 2 is conditioned on the penultimate layer's states, so Diffusers' text encoder
    ends there: 23 layers of ViT-H's 24. A tower without its projection and with another number
    of layers was cut before, and keeps them all.
    """
    renamed = _rename(tensors)
    layers = {int(match[1]) for match in map(_BLOCK.match, tensors) if match}
    if "text_projection" in tensors or len(layers) == _WHOLE_LAYERS:
        last = max(layers, default=0)
        own = f"{_PREFIX}encoder.layers.{last}."
        renamed.found = {k: t for k, t in renamed.found.items() if not k.startswith(own)}
        renamed.unused += [k for k in tensors if k.startswith(f"transformer.resblocks.{last}.")]
    return renamed


def rename_projected_open_clip(tensors: Mapping[str, Tensor]) -> Renamed:
    """OpenCLIP's whole text tower with its projection: SDXL's second text encoder."""
    renamed = _rename(tensors)
    for key in _PROJECTIONS:
        if key in tensors:
            renamed.found[_PROJECTION] = _projection(key, tensors[key])
            renamed.unused.remove(key)
    return renamed


def _rename(tensors: Mapping[str, Tensor]) -> Renamed:
    renamed = Renamed()
    for key, tensor in tensors.items():
        block = _BLOCK.match(key)
        if key in _HEADS:
            renamed.unused.append(key)
        elif key in _PLAIN:
            renamed.found[_PREFIX + _PLAIN[key]] = tensor
        elif block and (parts := _layer(block[2], tensor)) is not None:
            layer = f"{_PREFIX}encoder.layers.{block[1]}."
            renamed.found |= {layer + name: part for name, part in parts.items()}
        else:
            renamed.unknown.append(key)
    return renamed


def _projection(key: str, tensor: Tensor) -> Tensor:
    """The matrix as transformers has it: OpenCLIP multiplies it from the other side."""
    if key == _PROJECTION or len(tensor.shape) != 2:
        return tensor
    return replace(tensor, shape=tensor.shape[::-1], transposed=True)


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
