"""The resampling of k-diffusion's U-Nets, whose blocks diffusers calls KDownBlock2D and so on.

diffusers writes the blur as a convolution over all pairs of channels, a weight of C × C × 4 × 4
that is filled at every call and zero off the diagonal. Here each channel is blurred by itself: the
same sums without the zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from diffusers.models.downsampling import KDownsample2D
from diffusers.models.upsampling import KUpsample2D
from torch.nn import functional

from exporter.components.base import Array, Config

_TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


class _Down(torch.nn.Module):
    """Half the size, for even sizes."""

    def __init__(self, kernel: torch.Tensor) -> None:
        super().__init__()
        self.kernel: torch.Tensor
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        weight = self.kernel.expand(channels, 1, -1, -1)
        padded = functional.pad(x, (1, 1, 1, 1), "reflect")
        return functional.conv2d(padded, weight, stride=2, groups=channels)


class _Up(_Down):
    """Twice the size."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        channels = x.shape[1]
        weight = self.kernel.expand(channels, 1, -1, -1)
        padded = functional.pad(x, (1, 1, 1, 1), "reflect")
        return functional.conv_transpose2d(padded, weight, stride=2, padding=3, groups=channels)


def by_channel(network: torch.nn.Module) -> None:
    """Puts resampling by channel in the place of diffusers', in a network's K blocks."""
    for name, module in list(network.named_modules()):
        if isinstance(module, KDownsample2D | KUpsample2D):
            assert isinstance(module.kernel, torch.Tensor)
            kind = _Down if isinstance(module, KDownsample2D) else _Up
            network.set_submodule(name, kind(module.kernel))


def kernels(config: Config) -> Mapping[str, Array]:
    """The blur of each resampling of a U-Net, which no file holds, by its key."""
    row = np.array([_TAPS], np.float32)
    down, up = row.T @ row, (2 * row).T @ (2 * row)
    found = {f"down_blocks.{n}.downsamplers.0.kernel": down for n in _levels(config, "down")}
    return found | {f"up_blocks.{n}.upsamplers.0.kernel": up for n in _levels(config, "up")}


def has_k_blocks(config: Config) -> bool:
    """Whether a U-Net is made of such blocks; it then takes whole multiples of its sizes alone."""
    return any(True for way in ("down", "up") for _ in _levels(config, way))


def _levels(config: Config, way: str) -> Iterator[int]:
    """The levels that end with a resampling: all of K blocks but the last."""
    *types, _ = config[f"{way}_block_types"]
    yield from (n for n, name in enumerate(types) if str(name).startswith("K"))
