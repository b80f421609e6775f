"""Operators that a rewritten program has and ATen lacks: `torch.ops.latedge.*`.

Importing this module registers them.
"""

from __future__ import annotations

from typing import Any

import torch

_SIGNATURE = "(Tensor x, Tensor? weight, Tensor? bias, float eps) -> Tensor"
_LIBRARY = torch.library.Library("latedge", "DEF")
_LIBRARY.define(f"channel_norm{_SIGNATURE}")


def channel_norm(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    """Layer norm over the channels of (batch, channels, …): MIL's `layer_norm` with axes=[1].

    Written out in ATen's operators, a half-precision program would square deviations, which are
    infinite above 255. Here it is computed in float32 whatever the dtype, as ATen's own is.

    Args:
        x: [b, c, …], float16 or float32.
        weight: [c], or None for 1.
        bias: [c], or None for 0.
        eps: added to the variance.

    Returns:
        Of x's shape and dtype.
    """
    ones = [1] * (x.dim() - 2)
    wide = x.to(torch.float32)
    variance, mean = torch.var_mean(wide, dim=1, correction=0, keepdim=True)
    found = (wide - mean) * torch.rsqrt(variance + eps)
    if weight is not None:
        found = found * weight.to(torch.float32).view(1, -1, *ones)
    if bias is not None:
        found = found + bias.to(torch.float32).view(1, -1, *ones)
    return found.to(x.dtype)


def _shape_alone(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> torch.Tensor:
    del weight, bias, eps
    return torch.empty_like(x)


_LIBRARY.impl("channel_norm", channel_norm, "CPU")
_LIBRARY.impl("channel_norm", _shape_alone, "Meta")

CHANNEL_NORM: Any = torch.ops.latedge.channel_norm.default
"""`channel_norm` as a program's operator."""
