"""The guidance scale as an input of the U-Net, against diffusers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline

from runtimes.errors import BundleError
from runtimes.guidance.embedding import embedded_width, guidance_embedding
from runtimes.manifest import Graph, Port

Named = Callable[[str], Path]
Embed = StableDiffusionPipeline.get_guidance_scale_embedding


@pytest.mark.parametrize("width", [256, 32, 33])
@pytest.mark.parametrize("scale", [1.0, 1.5, 7.5, 8.5])
def test_embedding_is_that_of_diffusers(scale: float, width: int) -> None:
    found = guidance_embedding(scale, width)
    weights = torch.tensor(scale - 1).repeat(1)
    expected = Embed(None, weights, embedding_dim=width).numpy()  # pyright: ignore
    assert found.dtype == np.float32
    # A frequency may be off by one unit in the last place, 6e-8, at angles up to 7500.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3, strict=True)
    assert np.abs(found - guidance_embedding(scale + 0.5, width)).max() > 0.1


def graph(*shape: int | str) -> Graph:
    ports = (Port(role="timestep_cond", name="timestep_cond", dtype="float32", shape=shape),)
    return Graph(file="unet/model.onnx", inputs=ports, outputs=(), weights=(), precision="fp32")


def test_width_is_the_graphs() -> None:
    assert embedded_width(graph("batch", 256)) == 256
    plain = Graph(file="x", inputs=(), outputs=(), weights=(), precision="fp32")
    assert embedded_width(plain) is None


@pytest.mark.parametrize("shape", [("batch", "width"), ()])
def test_graphs_that_leave_the_width_open_are_refused(shape: tuple[int | str, ...]) -> None:
    with pytest.raises(BundleError, match=r"unet/model.onnx: input timestep_cond has shape \["):
        embedded_width(graph(*shape))


@pytest.mark.slow
def test_tiny_model_draws_what_diffusers_draws(synthesized: Named, compiled: Named) -> None:
    from runtimes.pipeline import Pipeline

    source, bundle = synthesized("tiny-lcm"), compiled("tiny-lcm")
    reference = StableDiffusionPipeline.from_pretrained(source, dtype=torch.float32)
    reference.set_progress_bar_config(disable=True)
    with Pipeline.open(bundle) as pipe:
        found = {
            scale: pipe("x", seed=3, num_inference_steps=3, guidance_scale=scale, output_type="np")
            for scale in (2.5, 8.0)
        }
    for scale, result in found.items():
        drawn = reference(
            "x",
            generator=torch.Generator().manual_seed(3),
            num_inference_steps=3,
            guidance_scale=scale,
            output_type="np",
        )
        assert not result.settings.guided
        assert len(result.timings.unet) == 3
        # The embedding's sines are off by up to 1e-3 at large angles.
        np.testing.assert_allclose(result.images, drawn.images, rtol=0, atol=2e-3)  # pyright: ignore
    assert np.abs(np.subtract(found[2.5].images, found[8.0].images)).max() > 0.02  # pyright: ignore
