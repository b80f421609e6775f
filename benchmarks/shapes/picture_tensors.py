"""Pictures as the autoencoder takes them."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.shapes.generator import Picture


def to_tensor(drawn: Picture) -> Tensor:
    """From uint8 (n, height, width, 3) to float32 (n, 3, height, width), -1 to 1."""
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 127.5 - 1
