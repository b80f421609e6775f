"""Attention's weights as files from before diffusers 0.15 name them."""

from __future__ import annotations

_OLD = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of the attention in autoencoders and in `UNet2DModel` before 0.15 → today's names."""


def renamed(key: str) -> str:
    """A weight's key with today's name of the attention in it."""
    parts = key.split(".")
    if "attentions" in parts and parts[-2] in _OLD:
        parts[-2] = _OLD[parts[-2]]
    return ".".join(parts)
