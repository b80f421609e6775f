"""The original latent diffusion models, a Diffusers folder to a picture, against diffusers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import diffusers
import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.shapes.generator import draw, scene
from exporter.compile import compile
from exporter.errors import VerificationError
from exporter.report import require_parity
from exporter.verify import verify
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError
from runtimes.manifest import MANIFEST_NAME, encode_manifest
from runtimes.pipeline import Pipeline
from tests.test_end_to_end import psnr_db

# Exports take half a minute each.
pytestmark = pytest.mark.slow

Once = Callable[[str, Callable[[Path], object]], Path]
Named = Callable[[str], Path]
Floats = NDArray[np.float32]

UNCONDITIONAL, LARGER = "tiny-ldm", "tiny-ldm-super-resolution"
STEPS = 4


@pytest.fixture(scope="module")
def bundle_of(once: Once, exported: Named) -> Callable[[str, str], Path]:
    def make(name: str, target: str) -> Path:
        portable = exported(name)
        return once(f"{name}-{target}", lambda folder: compile(portable, folder, target=target))

    return make


def small(number: int, width: int = 32, height: int = 64) -> Image.Image:
    picture = Image.fromarray(draw(scene("pair", number)))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def reference(
    model: Path, seed: int, scheduler: str | None = None, **options: Any
) -> tuple[Floats, Floats]:
    """diffusers' pictures, and the latents after each step.

    Its pipelines hand the scheduler no generator, which would draw from torch's global one.
    """
    pipe: Any = diffusers.DiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    kept: list[Floats] = []
    generator = torch.Generator().manual_seed(seed)
    step = pipe.scheduler.step

    @wraps(step)  # the pipeline looks at its arguments
    def watched(*args: Any, **told: Any) -> Any:
        if "eta" in told:
            told["generator"] = generator
        found = step(*args, **told)
        kept.append(found.prev_sample.numpy().copy())
        return found

    pipe.scheduler.step = watched
    made = pipe(generator=generator, output_type="np", num_inference_steps=STEPS, **options)
    return made.images, np.stack(kept)


def drawn(bundle: Path, **options: Any) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            output_type="np",
            num_inference_steps=STEPS,
            callback=lambda step: kept.append(step.latents.copy()),
            **options,
        )
    return np.asarray(result.images), np.stack(kept)


def assert_same(expected: tuple[Floats, Floats], found: tuple[Floats, Floats]) -> None:
    (pictures, trajectory), (made, latents) = expected, found
    assert made.shape == pictures.shape
    assert pictures.std() > 0.05, "the reference shows nothing"
    scale = np.abs(trajectory).max()
    for step, (a, b) in enumerate(zip(trajectory, latents, strict=True)):
        np.testing.assert_allclose(b, a, atol=2e-5 * scale, rtol=0, err_msg=f"step {step}")
    for index, (a, b) in enumerate(zip(pictures, made, strict=True)):
        assert psnr_db(a, b) >= 80, f"picture {index}"


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_unconditional_picture_equals_diffusers(
    synthesized: Named, bundle_of: Callable[[str, str], Path], target: str
) -> None:
    found = drawn(bundle_of(UNCONDITIONAL, target), seed=3, num_images_per_prompt=2)
    assert_same(reference(synthesized(UNCONDITIONAL), 3, batch_size=2), found)


def test_noisy_steps_equal_diffusers(
    synthesized: Named, bundle_of: Callable[[str, str], Path]
) -> None:
    bundle = bundle_of(UNCONDITIONAL, "onnxruntime")
    found = drawn(bundle, seed=4, sampler_options={"eta": 1.0})
    assert_same(reference(synthesized(UNCONDITIONAL), 4, eta=1.0), found)


@pytest.mark.parametrize(
    ("target", "image", "scheduler", "sampler"),
    [
        ("onnxruntime", small(0), None, None),
        ("openvino", small(0), None, None),
        # 70 × 40 pixels are resized to 64 × 32.
        ("onnxruntime", small(1, 70, 40), "DPMSolverMultistepScheduler", "dpmpp-2m"),
        # These scale what the network sees.
        ("onnxruntime", small(2), "EulerDiscreteScheduler", "euler"),
        ("onnxruntime", small(2), "LMSDiscreteScheduler", "lms"),
    ],
    ids=["default", "openvino", "odd size", "euler", "lms"],
)
def test_larger_picture_equals_diffusers(
    synthesized: Named,
    bundle_of: Callable[[str, str], Path],
    target: str,
    image: Image.Image,
    scheduler: str | None,
    sampler: str | None,
) -> None:
    expected = reference(synthesized(LARGER), 5, scheduler, image=image)
    found = drawn(bundle_of(LARGER, target), seed=5, image=image, sampler=sampler)
    assert expected[0].shape[1] * expected[0].shape[2] == 128 * 256
    assert_same(expected, found)


def test_picture_plays_a_part(bundle_of: Callable[[str, str], Path]) -> None:
    bundle = bundle_of(LARGER, "onnxruntime")
    one, other = (drawn(bundle, seed=1, image=small(n))[0] for n in range(2))
    assert np.abs(one - other).max() > 0.1


def test_fixed_sizes_and_half_precision(
    exported: Named, synthesized: Named, tmp_path: Path
) -> None:
    folder = tmp_path / "fixed"
    options: dict[str, Any] = {"precision": "fp16", "height": 64, "width": 96, "batch": 1}
    compile(exported(UNCONDITIONAL), folder, target="onnxruntime", **options)
    report = verify(folder, against=synthesized(UNCONDITIONAL))
    assert all(component.passed for component in report.components.values())
    assert drawn(folder, seed=0)[0].shape == (1, 64, 96, 3)


def test_sides_that_the_unet_does_not_take_are_refused(exported: Named, tmp_path: Path) -> None:
    message = "height 60 is not a positive multiple of 8, as the U-Net takes them; nearest are 56"
    portable = exported(UNCONDITIONAL)
    with pytest.raises(UsageError, match=f"{message} and 64"):
        compile(portable, tmp_path / "c", target="onnxruntime", height=60, width=64)


def test_manifest_tells_what_the_pipelines_do(bundle_of: Callable[[str, str], Path]) -> None:
    one, other = (
        open_bundle(bundle_of(name, "onnxruntime")).manifest for name in (UNCONDITIONAL, LARGER)
    )
    assert (one.family, one.tasks) == ("ldm", ("unconditional",))
    assert (other.family, other.tasks) == ("ldm-super-resolution", ("super-resolution",))
    assert (one.latents.scaling_factor, other.latents.scaling_factor) == (0.18215, 1.0)
    assert (one.latents.channels, one.latents.vae_factor, one.latents.multiple) == (3, 4, 2)
    assert one.tokenizers == other.tokenizers == {}
    recipes = {name: part.recipe for name, part in one.components.items()}
    assert {name: r.component for name, r in recipes.items() if r is not None} == {
        "unet": "unet_2d",
        "vae_decoder": "vae_decoder",
    }


@pytest.mark.parametrize("name", [UNCONDITIONAL, LARGER])
def test_whole_pictures_are_verified(exported: Named, name: str) -> None:
    told: list[str] = []
    report = verify(exported(name), image=True, progress=told.append)
    require_parity(report)
    assert report.image is not None
    assert report.image.psnr_db is None or report.image.psnr_db >= 80
    assert report.image.departs_at is None
    assert len(report.image.latents_psnr_db) == 5
    assert told[-2].startswith("whole picture: 5 steps of ddim at 64×64 will take")


def test_another_scaling_is_found_in_the_picture(exported: Named, tmp_path: Path) -> None:
    """Components agree with torch all the same."""
    opened = open_bundle(exported(LARGER))
    folder = Path(shutil.copytree(opened.path, tmp_path / "other"))
    latents = msgspec.structs.replace(opened.manifest.latents, scaling_factor=0.18215)
    manifest = msgspec.structs.replace(opened.manifest, latents=latents)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
    with pytest.raises(VerificationError, match="the decoder or what it is fed departs"):
        require_parity(verify(folder, image=True))


def test_pictures_that_diffusers_cannot_draw_are_not_compared(
    exported: Named, tmp_path: Path
) -> None:
    folder = tmp_path / "wide"
    compile(exported(UNCONDITIONAL), folder, target="onnxruntime", height=64, width=96)
    with pytest.raises(UsageError, match=r"draws squares alone, and this bundle draws 96×64"):
        verify(folder, against=exported(UNCONDITIONAL), image=True)
