"""Depth maps as diffusers' depth pipeline resizes and scales them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from runtimes.depth_map import to_depth_channel


@pytest.mark.parametrize("before", [(48, 64), (7, 5), (384, 384), (1, 9)])
@pytest.mark.parametrize("after", [(8, 8), (12, 5), (64, 96)])
def test_channel_equals_torchs(before: tuple[int, int], after: tuple[int, int]) -> None:
    depth = np.random.default_rng(0).random(before).astype(np.float32) * 30
    small = torch.nn.functional.interpolate(
        torch.from_numpy(depth)[None, None], size=after, mode="bicubic", align_corners=False
    )[0]
    expected = 2 * (small - small.amin()) / (small.amax() - small.amin()) - 1
    found = to_depth_channel(depth, *after)
    assert (found.shape, found.dtype) == ((1, *after), np.float32)
    assert (found.min(), found.max()) == (-1, 1)
    # Places are float32 on both sides: at 48, rounded by 4e-6 of a point.
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=6e-6)
