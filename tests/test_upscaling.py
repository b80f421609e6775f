"""The x4 upscaler, a Diffusers folder to a picture, against diffusers at the same seed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionUpscalePipeline,  # pyright: ignore[reportPrivateImportUsage]
)
from numpy.typing import NDArray
from PIL import Image

import latedge
from benchmarks.shapes.generator import draw, scene
from exporter.compile import compile
from runtimes.bundle import open_bundle
from runtimes.errors import BundleError, LatedgeError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.settle import settle
from tests.test_end_to_end import psnr_db

Once = Callable[[str, Callable[[Path], object]], Path]
Floats = NDArray[np.float32]

OPTIONS: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 5.0}


@pytest.fixture(scope="module")
def model(synthesized: Callable[[str], Path]) -> Path:
    return synthesized("tiny-x4-upscaler")


@pytest.fixture(scope="module")
def bundle(once: Once, exported: Callable[[str], Path]) -> Path:
    portable = exported("tiny-x4-upscaler")
    return once("x4-ort", lambda folder: compile(portable, folder, target="onnxruntime"))


def small(number: int, width: int = 20, height: int = 16) -> Image.Image:
    picture = Image.fromarray(draw(scene("pair", number)))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def reference(model: Path, **options: Any) -> tuple[Floats, Floats]:
    """diffusers' pictures, and the latents after each step."""
    pipe: Any = StableDiffusionUpscalePipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    kept: list[Floats] = []
    made = pipe(
        generator=torch.Generator().manual_seed(options.pop("seed")),
        output_type="np",
        callback=lambda _step, _timestep, latents: kept.append(latents.numpy().copy()),
        **OPTIONS,
        **options,
    )
    return made.images, np.stack(kept)


def drawn(bundle: Path, **options: Any) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            output_type="np",
            callback=lambda step: kept.append(step.latents.copy()),
            **OPTIONS,
            **options,
        )
    return np.asarray(result.images), np.stack(kept)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "a red circle", "image": small(0), "seed": 3},
        # 22 × 19 pixels are resized to 20 × 16, the VAE's multiples of 4.
        {"prompt": "x", "image": small(1, 22, 19), "noise_level": 300, "seed": 4},
        {
            "prompt": ["a red circle", "blue"],
            "negative_prompt": ["dark", ""],
            "image": [small(0), small(1)],
            "noise_level": 0,
            "seed": 5,
        },
        {"prompt": "x", "image": small(2), "num_images_per_prompt": 2, "seed": 6},
    ],
    ids=["default", "noisy, odd size", "two prompts", "two pictures"],
)
def test_picture_equals_diffusers(model: Path, bundle: Path, options: dict[str, Any]) -> None:
    expected, trajectory = reference(model, **options)
    found, latents = drawn(bundle, **options)
    assert found.shape == expected.shape == (len(expected), 64, 80, 3)
    assert expected.std() > 0.05, "the reference shows nothing"
    scale = np.abs(trajectory).max()
    for step, (a, b) in enumerate(zip(trajectory, latents, strict=True)):
        np.testing.assert_allclose(b, a, atol=2e-5 * scale, rtol=0, err_msg=f"step {step}")
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert psnr_db(a, b) >= 80, f"picture {index}"


def test_noise_level_and_picture_play_a_part(bundle: Path) -> None:
    given: dict[str, Any] = {"prompt": "x", "seed": 1}
    plain, _ = drawn(bundle, image=small(0), **given)
    for other in ({"image": small(1)}, {"image": small(0), "noise_level": 200}):
        found, _ = drawn(bundle, **given, **other)
        assert np.abs(plain - found).max() > 0.01


def test_command_line_upscales(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(0).save(tmp_path / "small.png")
    command = ["generate", str(bundle), "x", "-o", str(tmp_path / "x.png"), "--steps", "1"]
    command += ["--image", str(tmp_path / "small.png"), "--noise-level", "50", "--json"]
    assert latedge.main(command) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["noise_level"] == 50
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (80, 64)


def test_manifest_of_an_upscaler(bundle: Path) -> None:
    manifest = open_bundle(bundle, full=True).manifest
    assert (manifest.family, manifest.tasks) == ("x4-upscaler", ("upscaling",))
    assert manifest.low_res_scheduler == "low_res_scheduler/scheduler_config.json"
    assert (manifest.latents.vae_factor, manifest.latents.scaling_factor) == (4, 0.08333)
    roles = [port.role for port in manifest.components["unet"].graphs["model"].inputs]
    assert roles == ["sample", "timestep", "encoder_hidden_states", "class_labels"]


def test_settings_tell_the_noise_level(bundle: Path) -> None:
    settings = settle(open_bundle(bundle), "x", inputs=Inputs(image=small(0)), seed=0)
    assert (settings.task, settings.noise_level) == ("upscaling", 20)
    assert (settings.height, settings.width) == (64, 80)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": None}, r"can't do text-to-image; it is made for upscaling \(takes image\)"),
        ({"image": []}, "image holds no picture; give one."),
        ({"image": "x.png"}, "image must be a Pillow image or a NumPy array, or several, not str."),
        ({"image": small(0).convert("RGBA")}, r"image has an alpha channel \(mode RGBA\)"),
        ({"image": small(0).convert("I;16")}, "image has 16 bits a channel, where 8 are taken"),
        ({"image": small(0, 3, 9)}, "an image of 3×9 pixels is too small; each side must be 4"),
        ({"height": 32}, "an image of 20×16 pixels becomes one of 80×64, not 80×32; leave"),
        ({"noise_level": 351}, "noise_level must be a whole number from 0 to 350, not 351."),
        ({"noise_level": -1}, "noise_level must be a whole number from 0 to 350, not -1."),
        ({"noise_level": 2.5}, "noise_level must be a whole number from 0 to 350, not 2.5."),
        ({"noise_level": True}, "noise_level must be a whole number from 0 to 350, not True."),
    ],
)
def test_wrong_inputs_are_refused(bundle: Path, options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"image": small(0), **options}
    inputs = Inputs(image=given.pop("image"))
    with pytest.raises(LatedgeError, match=message) as caught:
        settle(open_bundle(bundle), "x", inputs=inputs, **given)
    assert "\n" not in str(caught.value)


def test_upscaler_without_its_schedule_is_refused(bundle: Path) -> None:
    opened = open_bundle(bundle)
    bare = type(opened)(
        opened.path, msgspec.structs.replace(opened.manifest, low_res_scheduler=None)
    )
    with pytest.raises(BundleError, match="has no low_res_scheduler"):
        settle(bare, "x", inputs=Inputs(image=small(0)))
