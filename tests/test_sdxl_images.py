"""SDXL's tasks that begin with a picture, and InstructPix2Pix, against diffusers' own pipelines.

At the same seed: the latents after every call of the network, and the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from diffusers import (
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
)

from runtimes.pipeline import Pipeline
from tests.parity import box, follow, photo

pytestmark = pytest.mark.slow

Open = Callable[[str], Pipeline]
Make = Callable[[str, Any], Any]

SIZE: dict[str, Any] = {"height": 64, "width": 72}


@pytest.mark.parametrize(
    "options",
    [
        {"num_inference_steps": 12},  # of which SDXL's own strength makes three
        {"strength": 0.6, "negative_prompt": "q"},
        {"strength": 1.0},
        {"strength": 0.8, "denoising_end": 0.7, "num_inference_steps": 12},
    ],
    ids=["default", "strength", "whole", "partly"],
)
def test_image_to_image(drawing: Open, reference: Make, options: dict[str, Any]) -> None:
    reference = reference("tiny-sdxl", StableDiffusionXLImg2ImgPipeline)
    follow(drawing("tiny-sdxl"), reference, prompt="a", image=photo(64, 72), **options)


@pytest.mark.parametrize("model", ["tiny-sdxl", "tiny-sdxl-inpaint"])
@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 5.0},
        {"guidance_scale": 7.5, "strength": 0.5, "negative_prompt": "q"},
        {"guidance_scale": 7.5, "strength": 1.0, "num_images_per_prompt": 2},
        {"strength": 0.8, "guidance_scale": 1.0},
    ],
    ids=["default", "half", "whole", "unguided"],
)
def test_inpainting(drawing: Open, reference: Make, model: str, options: dict[str, Any]) -> None:
    """SDXL's own strength is 0.9999, which leaves out a step and keeps some of the picture."""
    follow(
        drawing(model),
        reference(model, StableDiffusionXLInpaintPipeline),
        prompt="a red circle",
        image=photo(),
        mask_image=box(),
        **SIZE,
        **options,
    )


@pytest.mark.parametrize(("model", "blur"), [("tiny-sdxl", 5), ("tiny-sdxl-inpaint", 0)])
def test_crop_to_mask(drawing: Open, reference: Make, model: str, blur: int) -> None:
    pipe = reference(model, StableDiffusionXLInpaintPipeline)
    mask = box(150, 120)
    follow(
        drawing(model),
        pipe,
        ours={"mask_image": mask, "mask_blur": blur},
        theirs={"mask_image": pipe.mask_processor.blur(mask, blur) if blur else mask},
        prompt="a red circle",
        image=photo(150, 120),
        padding_mask_crop=7,
        guidance_scale=4.0,
        strength=0.7,
        output_type="pil",
        height=64,
        width=64,
    )


EDITS: list[dict[str, Any]] = [
    {},
    {"negative_prompt": "dark", "image_guidance_scale": 2.5},
    {"image_guidance_scale": 1.0},
    {"guidance_scale": 1.0},
    {"num_images_per_prompt": 2},
]


@pytest.mark.parametrize("options", EDITS, ids=lambda options: "-".join(options) or "plain")
def test_instruct_pix2pix(drawing: Open, reference: Make, options: dict[str, Any]) -> None:
    follow(
        drawing("tiny-ip2p"),
        reference("tiny-ip2p", StableDiffusionInstructPix2PixPipeline),
        prompt="make it red",
        image=photo(64, 72),
        **options,
    )


@pytest.mark.parametrize(
    "options",
    [*EDITS, {"prompt_2": "blue", "guidance_rescale": 0.7, "original_size": (300, 200)}],
    ids=lambda options: "-".join(options) or "plain",
)
def test_instruct_pix2pix_of_sdxl(drawing: Open, reference: Make, options: dict[str, Any]) -> None:
    follow(
        drawing("tiny-sdxl-ip2p"),
        reference("tiny-sdxl-ip2p", StableDiffusionXLInstructPix2PixPipeline),
        prompt="make it red",
        image=photo(),
        **SIZE,
        **options,
    )
