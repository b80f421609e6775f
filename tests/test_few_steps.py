"""Models distilled to few steps, drawn as their makers say, against diffusers' own pipelines.

At the same seed: the latents after every call of the network, and the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    TCDScheduler,
)

from runtimes.pipeline import Pipeline
from tests.parity import follow

pytestmark = pytest.mark.slow

Open = Callable[[str], Pipeline]
Make = Callable[[str, Any], Any]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_sdxl_turbo(drawing: Open, reference: Make, steps: int) -> None:
    """Its bundle has no guidance by default."""
    pipe = drawing("tiny-sdxl-turbo")
    pipeline = reference("tiny-sdxl-turbo", StableDiffusionXLPipeline)
    assert isinstance(pipeline.scheduler, EulerAncestralDiscreteScheduler)
    drawn = follow(
        pipe,
        pipeline,
        theirs={"guidance_scale": 0.0},
        prompt="a red circle",
        num_inference_steps=steps,
    )
    assert drawn.settings.guidance_scale == 0
    assert pipe.bundle.manifest.defaults.num_inference_steps == 1


@pytest.mark.parametrize("steps", [1, 4])
def test_sd_turbo(drawing: Open, reference: Make, steps: int) -> None:
    """SD 2.1's networks with the scheduler that SD-Turbo has, which predicts the noise."""
    pipeline = reference("tiny-sd21", StableDiffusionPipeline)
    own = pipeline.scheduler
    told: dict[str, Any] = {"timestep_spacing": "trailing", "prediction_type": "epsilon"}
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(own.config, **told)
    try:
        follow(
            drawing("tiny-sd21"),
            pipeline,
            ours={
                "sampler": "euler-a",
                "spacing": "trailing",
                "sampler_options": {"prediction_type": "epsilon"},
            },
            prompt="a red circle",
            guidance_scale=0.0,
            num_inference_steps=steps,
        )
    finally:
        pipeline.scheduler = own


@pytest.mark.parametrize(
    "options",
    [{}, {"guidance_scale": 3.0, "num_inference_steps": 2}, {"num_images_per_prompt": 2}],
    ids=["default", "scale", "two"],
)
def test_lcm_sdxl(drawing: Open, reference: Make, options: dict[str, Any]) -> None:
    """The U-Net is told the guidance scale beside sizes and the pooled embedding."""
    pipeline = reference("tiny-lcm-sdxl", StableDiffusionXLPipeline)
    assert isinstance(pipeline.scheduler, LCMScheduler)
    defaults = {"guidance_scale": 8.5, "num_inference_steps": 4}
    ours: dict[str, Any] = {"num_inference_steps": None, **options}
    drawn = follow(
        drawing("tiny-lcm-sdxl"),
        pipeline,
        prompt="a red circle",
        ours=ours,
        theirs=defaults | options,
    )
    assert drawn.settings.guidance_embedded


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_sdxl_lightning(drawing: Open, reference: Make, steps: int) -> None:
    """SDXL's networks, Euler's steps with trailing timesteps; of one step the picture itself."""
    pipeline = reference("tiny-sdxl", StableDiffusionXLPipeline)
    predicts: dict[str, Any] = {"prediction_type": "sample"} if steps == 1 else {}
    own = pipeline.scheduler
    pipeline.scheduler = EulerDiscreteScheduler.from_config(
        own.config, timestep_spacing="trailing", **predicts
    )
    try:
        follow(
            drawing("tiny-sdxl"),
            pipeline,
            ours={"sampler": "euler", "spacing": "trailing", "sampler_options": predicts},
            prompt="a red circle",
            guidance_scale=0.0,
            num_inference_steps=steps,
        )
    finally:
        pipeline.scheduler = own


@pytest.mark.parametrize("eta", [None, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 4])
def test_hyper_sd(drawing: Open, reference: Make, steps: int, eta: float | None) -> None:
    """SDXL's networks and TCD: without eta as the pipelines pass it, 0, where nothing is said."""
    pipeline = reference("tiny-sdxl", StableDiffusionXLPipeline)
    own = pipeline.scheduler
    pipeline.scheduler = TCDScheduler.from_config(own.config)
    try:
        follow(
            drawing("tiny-sdxl"),
            pipeline,
            ours={"sampler": "tcd", "sampler_options": {} if eta is None else {"eta": eta}},
            theirs={} if eta is None else {"eta": eta},
            prompt="a red circle",
            guidance_scale=0.0,
            num_inference_steps=steps,
        )
    finally:
        pipeline.scheduler = own


@pytest.mark.parametrize("timestep", [800, 999])
def test_hyper_sd_of_one_step(drawing: Open, reference: Make, timestep: int) -> None:
    """Its one-step U-Net begins at a timestep of its own, by LCM's step."""
    pipeline = reference("tiny-sdxl", StableDiffusionXLPipeline)
    own = pipeline.scheduler
    pipeline.scheduler = LCMScheduler.from_config(own.config)
    try:
        follow(
            drawing("tiny-sdxl"),
            pipeline,
            ours={"sampler": "lcm"},
            prompt="a red circle",
            guidance_scale=0.0,
            num_inference_steps=1,
            timesteps=[timestep],
        )
    finally:
        pipeline.scheduler = own
