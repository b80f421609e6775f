"""The autoencoder's keys in the original naming → Diffusers keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PLAIN = {
    "encoder.conv_in": "encoder.conv_in",
    "encoder.conv_out": "encoder.conv_out",
    "encoder.norm_out": "encoder.conv_norm_out",
    "decoder.conv_in": "decoder.conv_in",
    "decoder.conv_out": "decoder.conv_out",
    "decoder.norm_out": "decoder.conv_norm_out",
    "quant_conv": "quant_conv",
    "post_quant_conv": "post_quant_conv",
}
_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
}
_RESNET = {"nin_shortcut": "conv_shortcut"} | {n: n for n in ("norm1", "conv1", "norm2", "conv2")}
_LEVEL = re.compile(
    r"(encoder\.down|decoder\.up)\.(\d+)\."
    r"(?:block\.(?P<layer>\d+)\.(?P<inner>\w+)|(?P<sampler>downsample|upsample)\.conv)$"
)
_MID = re.compile(
    r"(encoder|decoder)\.mid\.(?:block_(?P<layer>[12])|attn_1(?P<attention>))\.(?P<inner>\w+)$"
)
POINTWISE = re.compile(r"\.attentions\.\d+\.to_(q|k|v|out\.0)\.weight$")
"""Diffusers keys of matrices that the original stores as 1×1 convolutions [c, c, 1, 1]."""


def rename_vae(keys: Iterable[str]) -> dict[str, str | None]:
    """Original key, without its prefix → Diffusers key; None for a key that is not the VAE's."""
    listed = list(keys)
    levels = {
        int(found[1]) for found in map(re.compile(r"decoder\.up\.(\d+)\.").match, listed) if found
    }
    last = max(levels, default=0)
    renamed: dict[str, str | None] = {}
    for key in listed:
        module, _, leaf = key.rpartition(".")
        new = _PLAIN.get(module) or _level(module, last) or _mid(module)
        renamed[key] = None if new is None else f"{new}.{leaf}"
    return renamed


def _level(module: str, last: int) -> str | None:
    """The decoder's levels count from the widest picture in the original, to it in Diffusers."""
    found = _LEVEL.match(module)
    if found is None or (found["sampler"] is None and found["inner"] not in _RESNET):
        return None
    side, level = found[1], int(found[2])
    block = (
        f"decoder.up_blocks.{last - level}"
        if side == "decoder.up"
        else f"encoder.down_blocks.{level}"
    )
    if found["sampler"] is not None:
        return f"{block}.{found['sampler']}rs.0.conv"
    return f"{block}.resnets.{found['layer']}.{_RESNET[found['inner']]}"


def _mid(module: str) -> str | None:
    found = _MID.match(module)
    if found is None:
        return None
    side, inner = found[1], found["inner"]
    if found["layer"] is None:
        return f"{side}.mid_block.attentions.0.{_ATTENTION[inner]}" if inner in _ATTENTION else None
    if inner not in _RESNET:
        return None
    return f"{side}.mid_block.resnets.{int(found['layer']) - 1}.{_RESNET[inner]}"
