"""Dynamic thresholding: C. Saharia et al., "Imagen", 2022, section 2.3.

Made for pixels in [-1, 1]; not right for latents, and a scheduler config may ask for it all the
same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from runtimes.denoiser import Latents


@dataclass(frozen=True)
class Thresholding:
    """Brings the denoised estimate into [-1, 1], as diffusers' `thresholding` does.

    Attributes:
        dynamic_thresholding_ratio: which share of a sample's magnitudes is left as it is, 0 to 1.
        sample_max_value: the most by which a sample is divided; at the default 1 the estimate is
            clipped and no more.
    """

    dynamic_thresholding_ratio: float = 0.995
    sample_max_value: float = 1.0

    def __call__(self, denoised: Latents) -> Latents:
        """Clips each sample at a quantile of its magnitudes, at least 1, and divides by it.

        Args:
            denoised: float32 or float64 [n, …]; not written to.

        Returns:
            An array of the same shape and dtype.
        """
        magnitudes = np.abs(denoised).reshape(len(denoised), -1)
        bound = _quantile(magnitudes, self.dynamic_thresholding_ratio)
        # torch.clamp: where the largest allowed is below 1, that wins over the smallest.
        bound = np.minimum(np.maximum(bound, 1), self.sample_max_value).astype(denoised.dtype)
        bound = bound.reshape(-1, *(1,) * (denoised.ndim - 1))
        return np.clip(denoised, -bound, bound) / bound


def _quantile(rows: Latents, share: float) -> Latents:
    """Each row's quantile as `torch.quantile` has it: a line between the two values beside it."""
    rows = np.sort(rows, axis=1)
    # The rank is a number of the rows' own dtype in the reference: at 16384 values and a share of
    # 0.995 float32 moves it by up to 0.001.
    rank = rows.dtype.type(share) * rows.dtype.type(rows.shape[1] - 1)
    low = int(rank)
    high = min(low + 1, rows.shape[1] - 1)
    return rows[:, low] + (rows[:, high] - rows[:, low]) * (rank - rows.dtype.type(low))


class Bounds(Protocol):
    """What a sampler says of the bounds of denoised estimates, by diffusers' names."""

    @property
    def thresholding(self) -> bool: ...  # noqa: D102
    @property
    def dynamic_thresholding_ratio(self) -> float: ...  # noqa: D102
    @property
    def sample_max_value(self) -> float: ...  # noqa: D102
    @property
    def clip_sample(self) -> bool: ...  # noqa: D102
    @property
    def clip_sample_range(self) -> float: ...  # noqa: D102


def bounded(denoised: Latents, bounds: Bounds) -> Latents:
    """A denoised estimate, thresholded or clipped if a sampler asks for it; thresholding first."""
    if bounds.thresholding:
        return Thresholding(bounds.dynamic_thresholding_ratio, bounds.sample_max_value)(denoised)
    if bounds.clip_sample:
        return np.clip(denoised, -bounds.clip_sample_range, bounds.clip_sample_range)
    return denoised
