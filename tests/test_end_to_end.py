"""The whole way, a Diffusers folder to a picture, against diffusers at the same seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray

from exporter.compile import compile
from runtimes.pipeline import Pipeline

TARGETS = ["onnxruntime", "openvino"]

SCHEDULERS: Mapping[str, tuple[Any, str, bool]] = {
    "ddim": (DDIMScheduler, "ddim", False),
    "pndm": (PNDMScheduler, "pndm", False),
    "euler": (EulerDiscreteScheduler, "euler", False),
    "euler-karras": (EulerDiscreteScheduler, "euler", True),
    "dpmpp-2m": (DPMSolverMultistepScheduler, "dpmpp-2m", False),
    "dpmpp-2m-karras": (DPMSolverMultistepScheduler, "dpmpp-2m", True),
}
"""diffusers' scheduler, our sampler, Karras sigmas."""

PROMPT = "a large red circle above a small blue square on a white background"
PSNR_DB = 45.0
"""What the project promises. Float32 on both sides, so only the order of sums differs."""


def psnr_db(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(1 / error)


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="module")
def bundles(once: Once, shapes_bundle: Path) -> Callable[[str], Path]:
    def make(target: str) -> Path:
        if target == "portable":
            return shapes_bundle
        return once(
            f"shapes-{target}", lambda folder: compile(shapes_bundle, folder, target=target)
        )

    return make


@pytest.fixture(scope="module")
def reference(shapes_model: Path) -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(shapes_model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def diffusers_picture(
    pipe: StableDiffusionPipeline, scheduler: str, **options: Any
) -> NDArray[np.float32]:
    """Pictures of diffusers with another scheduler, made from the model's own config."""
    cls, _, karras = SCHEDULERS[scheduler]
    changes = {"use_karras_sigmas": True} if karras else {}
    own = PNDMScheduler.load_config(pipe.config["_name_or_path"], subfolder="scheduler")
    pipe.scheduler = cls.from_config(own, **changes)
    generator = torch.Generator().manual_seed(options.pop("seed"))
    found: Any = pipe(generator=generator, output_type="np", **options)
    return found.images


def drawn(pipe: Pipeline, **options: Any) -> NDArray[np.float32]:
    """Pictures [n, height, width, 3] in [0, 1]."""
    images = pipe(output_type="np", **options).images
    assert isinstance(images, np.ndarray)
    return images


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_picture_equals_diffusers(
    bundles: Callable[[str], Path],
    reference: StableDiffusionPipeline,
    target: str,
    scheduler: str,
) -> None:
    _, sampler, karras = SCHEDULERS[scheduler]
    options: dict[str, Any] = {
        "prompt": PROMPT,
        "num_inference_steps": 20,
        "guidance_scale": 4.0,
        "seed": 7,
    }
    expected = diffusers_picture(reference, scheduler, **options)
    with Pipeline.open(bundles(target)) as pipe:
        found = drawn(pipe, sampler=sampler, schedule="karras" if karras else None, **options)
    assert expected.std() > 0.05, "the reference shows nothing"
    assert psnr_db(expected, found) >= PSNR_DB


@pytest.mark.parametrize("target", TARGETS)
def test_several_pictures_prompts_and_negatives_equal_diffusers(
    bundles: Callable[[str], Path], reference: StableDiffusionPipeline, target: str
) -> None:
    options: dict[str, Any] = {
        "prompt": [PROMPT, "a small green triangle on a black background"],
        "negative_prompt": ["a blue square", ""],
        "num_inference_steps": 5,
        "guidance_scale": 3.0,
        "num_images_per_prompt": 2,
        "seed": 2**31,
    }
    expected = diffusers_picture(reference, "ddim", **options)
    with Pipeline.open(bundles(target)) as pipe:
        found = drawn(pipe, sampler="ddim", **options)
    assert found.shape == expected.shape == (4, 64, 64, 3)
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert psnr_db(a, b) >= PSNR_DB, f"picture {index}"


def test_batch_of_one_and_of_two_give_the_same_picture(
    bundles: Callable[[str], Path], tmp_path: Path
) -> None:
    pictures = []
    for batch in (1, 2):
        out = tmp_path / str(batch)
        compile(bundles("portable"), out, target="onnxruntime", height=64, width=64, batch=batch)
        with Pipeline.open(out) as pipe:
            pictures.append(drawn(pipe, prompt=PROMPT, num_inference_steps=5, seed=1))
    assert psnr_db(*pictures) >= 80


@pytest.mark.parametrize("target", TARGETS)
def test_v_prediction_equals_diffusers(
    exported: Callable[[str], Path], tiny_sd21: Path, tmp_path: Path, target: str
) -> None:
    compile(exported("tiny-sd21"), tmp_path / "c", target=target)
    reference = StableDiffusionPipeline.from_pretrained(tiny_sd21, dtype=torch.float32)
    reference.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"prompt": "x", "num_inference_steps": 5, "guidance_scale": 7.5}
    found_reference: Any = reference(
        generator=torch.Generator().manual_seed(3), output_type="np", **options
    )
    expected = found_reference.images
    with Pipeline.open(tmp_path / "c") as pipe:
        found = drawn(pipe, seed=3, **options)
    assert psnr_db(expected, found) >= PSNR_DB
