"""Whole pictures against diffusers, where it has the feature, and bit by bit against ourselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from numpy.typing import NDArray

from runtimes.pipeline import Pipeline

Named = Callable[[str], Path]
Pictures = NDArray[np.float32]

# Of values in [0, 1]: float32 on both sides, sums in another order, over four guided steps.
TOLERANCE = 1e-4
LONG = "a large red circle above a small blue square on a white background, " * 12


@pytest.fixture(scope="module")
def reference(synthesized: Named) -> Any:
    pipe = StableDiffusionPipeline.from_pretrained(synthesized("tiny-sd15"), dtype=torch.float32)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipe(compiled: Named) -> Any:
    with Pipeline.open(compiled("tiny-sd15")) as opened:
        yield opened


def drawn(pipe: Pipeline, *prompts: str, **options: Any) -> Pictures:
    images = pipe(
        *prompts, seed=3, num_inference_steps=4, sampler="ddim", output_type="np", **options
    ).images
    assert isinstance(images, np.ndarray)
    return images


def theirs(reference: Any, *prompts: str, **options: Any) -> Pictures:
    generator = torch.Generator().manual_seed(3)
    return reference(
        *prompts, generator=generator, num_inference_steps=4, output_type="np", **options
    ).images


def test_rescaled_guidance_equals_diffusers(pipe: Pipeline, reference: Any) -> None:
    found = drawn(pipe, "x", guidance_scale=9.0, guidance_rescale=0.7)
    expected = theirs(reference, "x", guidance_scale=9.0, guidance_rescale=0.7)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    assert np.abs(found - drawn(pipe, "x", guidance_scale=9.0)).max() > 100 * TOLERANCE


@pytest.mark.parametrize("syntax", ["plain", "a1111", "compel"])
def test_long_prompts_equal_diffusers_with_their_embeddings(
    pipe: Pipeline, reference: Any, syntax: str
) -> None:
    options: dict[str, Any] = {"prompt_syntax": syntax, "long_prompts": "chunks"}
    embeddings = pipe.encode(LONG, "blue", **options)
    assert embeddings.negative_prompt_embeds is not None
    assert embeddings.prompt_embeds.shape[1] >= 2 * 77
    expected = theirs(
        reference,
        prompt_embeds=torch.from_numpy(embeddings.prompt_embeds),
        negative_prompt_embeds=torch.from_numpy(embeddings.negative_prompt_embeds),
    )
    found = drawn(pipe, LONG, "blue", **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_array_equal(drawn(pipe, prompt_embeds=embeddings), found)


def test_saved_embeddings_make_the_same_picture(pipe: Pipeline, tmp_path: Path) -> None:
    options: dict[str, Any] = {"prompt_syntax": "a1111", "clip_skip": 1}
    pipe.encode("a (red:1.3) circle", "blue", **options).save(tmp_path / "x.npz")
    expected = drawn(pipe, "a (red:1.3) circle", "blue", **options)
    found = drawn(pipe, prompt_embeds=tmp_path / "x.npz")
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - drawn(pipe, "a red circle", "blue")).max() > 100 * TOLERANCE
