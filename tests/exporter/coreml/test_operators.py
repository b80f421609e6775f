"""The project's own operators, beside ATen's."""

from __future__ import annotations

import pytest
import torch

from exporter.coreml.operators import CHANNEL_NORM


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float16, 4e-3)], ids=["fp32", "fp16"]
)
def test_it_is_layer_norm_over_the_channels(
    affine: bool, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    # Deviations of 900: their squares are above 65504.
    x = (torch.randn(2, 24, 1, 7) * 300 + 40).to(dtype)
    weight, bias = (torch.randn(2, 24).to(dtype)) if affine else (None, None)
    found = CHANNEL_NORM(x, weight, bias, 1e-5)
    last = torch.nn.functional.layer_norm(
        x.permute(0, 2, 3, 1).float(),
        [24],
        None if weight is None else weight.float(),
        None if bias is None else bias.float(),
        1e-5,
    )
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.float(), last.permute(0, 3, 1, 2), rtol=tolerance, atol=tolerance
    )


def test_without_memory_it_gives_shape_and_dtype() -> None:
    x = torch.empty(2, 24, 1, 7, dtype=torch.float16, device="meta")
    found = CHANNEL_NORM(x, None, None, 1e-5)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
