"""SDXL base and refiner, the whole way from Diffusers folders, against diffusers' own pipelines.

At the same seed: the latents after every call of the network, and the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)

from exporter.source import SourceOptions
from runtimes.embeddings_file import PromptEmbeddings
from runtimes.pipeline import Pipeline
from tests.parity import PSNR_DB, follow, photo, psnr_db

pytestmark = pytest.mark.slow

Open = Callable[[str], Pipeline]
Named = Callable[[str], Path]
Once = Callable[[str, Callable[[Path], object]], Path]
Make = Callable[[str, Any], Any]

IMAGE = photo(128, 128)


@pytest.fixture(scope="module")
def base(drawing: Open) -> Pipeline:
    return drawing("tiny-sdxl")


@pytest.fixture(scope="module")
def refiner(drawing: Open) -> Pipeline:
    return drawing("tiny-sdxl-refiner")


@pytest.fixture(scope="module")
def text_to_image(reference: Make) -> Any:
    return reference("tiny-sdxl", StableDiffusionXLPipeline)


@pytest.fixture(scope="module")
def refining(reference: Make) -> Any:
    return reference("tiny-sdxl-refiner", StableDiffusionXLImg2ImgPipeline)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"negative_prompt": ""}, id="empty-negative"),
        {"negative_prompt": "dark"},
        {"guidance_scale": 1.0},
        {"guidance_rescale": 0.7},
        {"prompt_2": "x, y"},
        {"negative_prompt": "dark", "negative_prompt_2": "blue"},
        {"negative_prompt": "dark", "clip_skip": 1},
        {"height": 64, "width": 96},
        {"denoising_end": 0.6},
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_base(base: Pipeline, text_to_image: Any, options: dict[str, Any]) -> None:
    follow(base, text_to_image, prompt="a red circle", **options)


def test_several_prompts_with_seconds_and_negatives(base: Pipeline, text_to_image: Any) -> None:
    follow(
        base,
        text_to_image,
        prompt=["a red circle", "blue"],
        prompt_2=["x", "y z"],
        negative_prompt=["dark", "b"],
        negative_prompt_2=["u", "v"],
        num_images_per_prompt=2,
    )


def test_what_the_base_is_told_of_its_picture(base: Pipeline, text_to_image: Any) -> None:
    follow(
        base,
        text_to_image,
        prompt="a",
        negative_prompt="b",
        original_size=(300, 200),
        crops_coords_top_left=(10, 20),
        target_size=(64, 50),
        negative_original_size=(30, 40),
        negative_crops_coords_top_left=(1, 2),
        negative_target_size=(100, 101),
    )


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"negative_prompt": ""},
        {"negative_prompt": "dark"},
        {"prompt_2": "x", "negative_prompt_2": "y"},
    ],
    ids=["none", "empty", "given", "seconds"],
)
def test_embeddings_that_were_saved_stand_for_their_prompts(
    base: Pipeline, text_to_image: Any, texts: dict[str, Any], tmp_path: Path
) -> None:
    encoded = base.encode("a red circle", **texts)
    encoded.save(tmp_path / "x.npz")
    options: dict[str, Any] = {"seed": 1, "num_inference_steps": 2}
    plain = base("a red circle", **texts, **options)
    saved = base(prompt_embeds=tmp_path / "x.npz", **options)
    np.testing.assert_array_equal(saved.latents, plain.latents)
    arrays: dict[str, Any] = {
        name: getattr(encoded, name) for name in PromptEmbeddings.__dataclass_fields__
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    follow(base, text_to_image, ours=arrays, theirs=tensors)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {
            "aesthetic_score": 7.5,
            "negative_aesthetic_score": 1.0,
            "negative_prompt": "q",
            "crops_coords_top_left": (5, 6),
            "original_size": (200, 300),
        },
    ],
    ids=["plain", "scores"],
)
def test_refiner(refiner: Pipeline, refining: Any, options: dict[str, Any]) -> None:
    follow(refiner, refining, prompt="a", image=IMAGE, strength=0.6, **options)


@pytest.mark.parametrize("count", [6, 25])
@pytest.mark.parametrize(
    ("scheduler", "sampler"),
    [(EulerDiscreteScheduler, "euler"), (DPMSolverMultistepScheduler, "dpmpp-2m")],
    ids=["euler", "dpmpp-2m"],
)
def test_hand_over_within_a_schedule(
    base: Pipeline,
    refiner: Pipeline,
    text_to_image: Any,
    refining: Any,
    count: int,
    scheduler: Any,
    sampler: str,
) -> None:
    """The refiner goes on from latents with their noise, to the end or some of the way."""
    options: dict[str, Any] = {"prompt": "a red circle", "num_inference_steps": count}
    own = [each.scheduler for each in (text_to_image, refining)]
    ours = {"sampler": sampler}
    try:
        for each in (text_to_image, refining):
            each.scheduler = scheduler.from_config(each.scheduler.config)
        half = follow(
            base, text_to_image, ours=ours, denoising_end=0.8, output_type="latent", **options
        ).latents
        taken = {"ours": {**ours, "image_latents": half}, "theirs": {"image": torch.tensor(half)}}
        follow(refiner, refining, **cast("Any", taken), denoising_start=0.8, **options)
        if sampler == "euler":
            follow(
                refiner,
                refining,
                **cast("Any", taken),
                denoising_start=0.5,
                denoising_end=0.9,
                output_type="latent",
                **options,
            )
    finally:
        text_to_image.scheduler, refining.scheduler = own


@pytest.fixture(scope="module")
def both(once: Once, synthesized: Named) -> Iterator[Pipeline]:
    """Base and refiner in one bundle."""
    from exporter.compile import compile
    from exporter.export import export

    options = SourceOptions(refiner=synthesized("tiny-sdxl-refiner"))
    portable = once(
        "unverified-tiny-sdxl-both",
        lambda folder: export(
            synthesized("tiny-sdxl"), folder, verify="none", source_options=options
        ),
    )
    compiled = once(
        "drawing-tiny-sdxl-both", lambda folder: compile(portable, folder, target="onnxruntime")
    )
    with Pipeline.open(compiled, threads=1) as pipe:
        yield pipe


@pytest.mark.parametrize("share", [0.3, 0.8])
def test_base_and_refiner_of_one_bundle_draw_in_one_call(
    both: Pipeline, text_to_image: Any, refining: Any, share: float
) -> None:
    options: dict[str, Any] = {
        "prompt": "a red circle",
        "negative_prompt": "dark",
        "num_inference_steps": 10,
    }
    half = text_to_image(
        denoising_end=share,
        output_type="latent",
        generator=torch.Generator().manual_seed(5),
        **options,
    ).images
    expected = refining(
        image=half, denoising_start=share, output_type="np", aesthetic_score=7.0, **options
    ).images
    found = both(
        **options, seed=5, refiner_start=share, output_type="np", aesthetic_score=7.0
    ).images
    assert expected.std() > 0.02
    assert psnr_db(expected, np.asarray(found), 1.0) >= PSNR_DB


def test_pruned_networks_are_drawn_by_their_config(drawing: Open, reference: Make) -> None:
    """SSD-1B: SDXL without some of its transformer blocks, and none in the middle."""
    follow(drawing("tiny-ssd"), reference("tiny-ssd", StableDiffusionXLPipeline), prompt="a circle")
