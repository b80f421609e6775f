"""The x2 latent upscaler, a Diffusers folder to a picture, against diffusers at the same seed."""

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
    StableDiffusionLatentUpscalePipeline,  # pyright: ignore[reportPrivateImportUsage]
)
from numpy.typing import NDArray
from PIL import Image

import latedge
from benchmarks.shapes.generator import draw, scene
from exporter.compile import compile
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.plan import make_plan
from runtimes.samplers.choice import ScheduleChoice
from runtimes.settle import settle
from tests.test_end_to_end import psnr_db

# Exporting even a tiny K-U-Net takes half a minute.
pytestmark = pytest.mark.slow

Once = Callable[[str, Callable[[Path], object]], Path]
Floats = NDArray[np.float32]

OPTIONS: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 5.0}


@pytest.fixture(scope="module")
def model(synthesized: Callable[[str], Path]) -> Path:
    return synthesized("tiny-x2-latent-upscaler")


@pytest.fixture(scope="module")
def bundle(once: Once, exported: Callable[[str], Path]) -> Path:
    portable = exported("tiny-x2-latent-upscaler")
    return once("x2-latent-ort", lambda folder: compile(portable, folder, target="onnxruntime"))


def small(number: int, width: int = 64, height: int = 32) -> Image.Image:
    picture = Image.fromarray(draw(scene("pair", number)))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def small_latents(count: int = 1, height: int = 4, width: int = 8) -> Floats:
    shape = (count, 4, height, width)
    return np.random.default_rng(count).standard_normal(shape).astype(np.float32)


def reference(model: Path, **options: Any) -> tuple[Floats, Floats]:
    """diffusers' pictures, and the latents after each step."""
    pipe: Any = StableDiffusionLatentUpscalePipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if "image_latents" in options:
        options["image"] = torch.from_numpy(options.pop("image_latents"))
    kept: list[Floats] = []
    made = pipe(
        generator=torch.Generator().manual_seed(options.pop("seed")),
        output_type="np",
        callback=lambda _step, _timestep, latents: kept.append(latents.numpy().copy()),
        **{**OPTIONS, **options},
    )
    return made.images, np.stack(kept)


def drawn(bundle: Path, **options: Any) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            output_type="np",
            callback=lambda step: kept.append(step.latents.copy()),
            **{**OPTIONS, **options},
        )
    return np.asarray(result.images), np.stack(kept)


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "a red circle", "image": small(0), "seed": 3},
        {"prompt": "x", "image_latents": small_latents(), "seed": 4, "num_inference_steps": 7},
        {
            "prompt": ["a red circle", "blue"],
            "negative_prompt": ["dark", ""],
            "image": [small(0), small(1)],
            "seed": 5,
        },
        # The reference is told no prompt at scale 0, and one at scale 1.
        {"prompt": "a red circle", "image": small(2), "guidance_scale": 0, "seed": 6},
        {"prompt": "a red circle", "image": small(2), "guidance_scale": 1.0, "seed": 6},
    ],
    ids=["picture", "latents", "two prompts", "no guidance, no prompt", "no guidance"],
)
def test_picture_equals_diffusers(model: Path, bundle: Path, options: dict[str, Any]) -> None:
    expected, trajectory = reference(model, **options)
    found, latents = drawn(bundle, **options)
    assert found.shape == expected.shape == (len(expected), 64, 128, 3)
    assert expected.std() > 0.05, "the reference shows nothing"
    scale = np.abs(trajectory).max()
    for step, (a, b) in enumerate(zip(trajectory, latents, strict=True)):
        np.testing.assert_allclose(b, a, atol=2e-5 * scale, rtol=0, err_msg=f"step {step}")
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        assert psnr_db(a, b) >= 80, f"picture {index}"


def test_odd_sizes_are_cut_to_what_the_u_net_can_halve(model: Path, bundle: Path) -> None:
    # 70 × 45 pixels are resized to 64 × 32, whose latents can be doubled and halved three times.
    found, _ = drawn(bundle, prompt="x", image=small(0, 70, 45), seed=1)
    resized = small(0, 70, 45).resize((64, 32), Image.Resampling.BICUBIC)
    expected, _ = reference(model, prompt="x", image=resized, seed=1)
    assert psnr_db(expected, found) >= 80


def test_one_prompt_serves_the_latents_of_several_pictures(bundle: Path) -> None:
    several, _ = drawn(bundle, prompt="x", image_latents=small_latents(2), seed=1)
    alone, _ = drawn(bundle, prompt="x", image_latents=small_latents(2)[:1], seed=1)
    assert several.shape == (2, 64, 128, 3)
    np.testing.assert_allclose(several[0], alone[0], atol=1e-4)
    assert np.abs(several[0] - several[1]).max() > 0.05
    twice, _ = drawn(
        bundle, prompt="x", image_latents=small_latents(), seed=1, num_images_per_prompt=2
    )
    assert twice.shape == several.shape


def test_prompt_and_picture_play_a_part(bundle: Path) -> None:
    given: dict[str, Any] = {"prompt": "x", "image": small(0), "seed": 1}
    plain, _ = drawn(bundle, **given)
    for other in ({"image": small(1)}, {"prompt": "a red circle"}, {"negative_prompt": "dark"}):
        found, _ = drawn(bundle, **{**given, **other})
        assert np.abs(plain - found).max() > 0.01, other


def test_another_sampler_makes_the_same_picture_in_the_end(bundle: Path) -> None:
    """The U-Net is told the noise level, in whatever scaling the sampler has its latents."""
    given: dict[str, Any] = {"prompt": "x", "image": small(0), "seed": 1, "guidance_scale": 1.0}
    euler, _ = drawn(bundle, **given, num_inference_steps=60)
    ddim, _ = drawn(bundle, **given, num_inference_steps=60, sampler="dpmpp-2m")
    assert psnr_db(euler, ddim) > 25


def test_perp_neg_takes_the_pooled_embedding_of_the_empty_prompt(bundle: Path) -> None:
    given: dict[str, Any] = {"prompt": "x", "negative_prompt": "dark", "image": small(0), "seed": 1}
    plain, _ = drawn(bundle, **given)
    found, _ = drawn(bundle, **given, perp_neg=True)
    assert np.abs(plain - found).max() > 0.001


def test_command_line_upscales(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small(0).save(tmp_path / "small.png")
    command = ["generate", str(bundle), "x", "-o", str(tmp_path / "x.png"), "--steps", "1"]
    command += ["--image", str(tmp_path / "small.png"), "--json"]
    assert latedge.main(command) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["task"] == "latent-upscaling"
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (128, 64)


def test_picture_repeats_from_its_file(bundle: Path, tmp_path: Path) -> None:
    inputs = Inputs(image_latents=small_latents())
    with Pipeline.open(bundle) as pipe:
        first = pipe("x", image_latents=inputs.image_latents, seed=1, num_inference_steps=2)
        path = first.save(tmp_path / "x.png")[0]
        again = pipe.repeat(path, inputs=inputs)
        np.testing.assert_array_equal(first.latents, again.latents)
        with pytest.raises(UsageError, match="as image_latents, and none was given; give the same"):
            pipe.run(first.settings)


def test_manifest_of_a_latent_upscaler(bundle: Path) -> None:
    manifest = open_bundle(bundle, full=True).manifest
    assert (manifest.family, manifest.tasks) == ("latent-upscaler", ("latent-upscaling",))
    assert manifest.prediction_type == "k_unet"
    unet = manifest.components["unet"].graphs["model"]
    assert [port.role for port in unet.inputs][2:] == ["encoder_hidden_states", "timestep_cond"]
    assert unet.outputs[0].shape[1] == manifest.latents.channels + 1


def test_settings_of_a_latent_upscaling(bundle: Path) -> None:
    settings = settle(open_bundle(bundle), "x", inputs=Inputs(image=small(0)), seed=0)
    assert (settings.task, settings.sampler) == ("latent-upscaling", "euler")
    assert (settings.height, settings.width) == (64, 128)
    assert (settings.num_inference_steps, settings.guidance_scale) == (75, 9.0)
    assert settings.guided


EMBEDDINGS = np.zeros((1, 77, 32), np.float32)
LATENTS = small_latents()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image": None},
            "can't do text-to-image; it is made for latent-upscaling .takes image or",
        ),
        (
            {"image": small(0, 20, 40)},
            "an image of 20×40 pixels is too small; each side must be 32",
        ),
        ({"image": small(0).convert("RGBA")}, "image has an alpha channel"),
        ({"image": [small(0)] * 2, "prompt": ["x"] * 3}, "there are 2 of image for 3 prompts"),
        (
            {"image": [small(0), small(0, 64, 64)]},
            "64×64 pixels becomes one of 128×128, not 128×64",
        ),
        ({"height": 32}, "an image of 64×32 pixels becomes one of 128×64, not 128×32; leave"),
        ({"image_latents": LATENTS}, "image and image_latents can't be given like this"),
        ({"noise_level": 20}, "noise_level 20 .* this is latent-upscaling; leave it out."),
        ({"strength": 0.5}, "strength 0.5 .* latent-upscaling begins with noise alone"),
        ({"clip_skip": 1}, "clip_skip 1 says nothing of the pooled text embedding"),
        ({"prompt_syntax": "a1111"}, "prompt_syntax 'a1111' says nothing of the pooled"),
        ({"long_prompts": "chunks"}, "long_prompts 'chunks' says nothing of the pooled"),
        ({"prompt": None, "prompt_embeds": EMBEDDINGS}, "prompt_embeds have no pooled embedding"),
        (
            {"latents": LATENTS},
            r"latents have shape .1, 4, 4, 8.; the settings ask for .1, 4, 8, 1",
        ),
        (
            {"sampler_options": {"prediction_type": "epsilon"}},
            "prediction_type is 'epsilon', but this bundle's U-Net is a K-U-Net",
        ),
    ],
)
def test_wrong_inputs_are_refused(bundle: Path, options: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"image": small(0), "prompt": "x", **options}
    names = ("image", "image_latents", "latents", "prompt_embeds")
    inputs = Inputs(**{name: given.pop(name, None) for name in names})
    with pytest.raises((UsageError, BundleError), match=message) as caught:
        settle(open_bundle(bundle), given.pop("prompt"), inputs=inputs, **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("latents", "message"),
    [
        ([0.0], "image_latents must be a NumPy array, not list."),
        (LATENTS.astype(int), "image_latents must be of a float type, not int64."),
        (LATENTS[0], r"image_latents have shape \[4, 4, 8\], not \[pictures, 4, h, w\]."),
        (LATENTS[:, :3], r"image_latents have shape \[1, 3, 4, 8\], not \[pictures, 4, h, w\]."),
        (LATENTS[:0], r"image_latents have shape \[0, 4, 4, 8\], not"),
        (
            LATENTS[:, :, :, :6],
            "image_latents are of 6×4 cells; each side must be a multiple of 4.",
        ),
        (LATENTS * np.float32(np.nan), "image_latents hold NaN or infinite values."),
    ],
)
def test_wrong_latents_are_refused(bundle: Path, latents: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settle(open_bundle(bundle), "x", inputs=Inputs(image_latents=latents))


def test_embeddings_are_not_made_apart(bundle: Path) -> None:
    with (
        Pipeline.open(bundle) as pipe,
        pytest.raises(UsageError, match="takes a pooled embedding beside those of the tokens"),
    ):
        pipe.encode("x")


def without(opened: Bundle, component: str, role: str) -> Bundle:
    """A bundle one of whose graphs lacks an input or output."""
    entry = opened.manifest.components[component]
    graph = entry.graphs["model"]
    kept = msgspec.structs.replace(
        graph,
        inputs=tuple(port for port in graph.inputs if port.role != role),
        outputs=tuple(port for port in graph.outputs if not port.role.startswith(role)),
    )
    components = dict(opened.manifest.components)
    components[component] = msgspec.structs.replace(entry, graphs={"model": kept})
    return type(opened)(
        opened.path, msgspec.structs.replace(opened.manifest, components=components)
    )


@pytest.mark.parametrize(
    ("component", "role", "message"),
    [
        ("text_encoder", "hidden_states.", "doesn't give its layers' states"),
        ("text_encoder", "pooler_output", "lacks the pooler_output of the text encoder. Export"),
        ("unet", "timestep_cond", "lacks the timestep_cond of the U-Net. Export it again."),
    ],
)
def test_bundle_of_other_parts_is_refused(
    bundle: Path, component: str, role: str, message: str
) -> None:
    opened = without(open_bundle(bundle), component, role)
    with pytest.raises(BundleError, match=message):
        settle(opened, "x", inputs=Inputs(image=small(0)))


def test_bundle_without_encoder_takes_latents_alone(bundle: Path) -> None:
    opened = open_bundle(bundle)
    components = dict(opened.manifest.components)
    del components["vae_encoder"]
    bare = type(opened)(
        opened.path, msgspec.structs.replace(opened.manifest, components=components)
    )
    assert settle(bare, "x", inputs=Inputs(image_latents=LATENTS)).width == 128
    with pytest.raises(BundleError, match="vae_encoder"):
        settle(bare, "x", inputs=Inputs(image=small(0)))


def test_level_without_signal_has_no_noise_level_to_tell(bundle: Path) -> None:
    zero_snr = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    choice = ScheduleChoice(sampler_options=zero_snr)
    plan = make_plan(open_bundle(bundle), "ddim", 4, choice)
    assert (plan.prediction_type, plan.levels[0].alpha) == ("k_unet", 0.0)
    with (
        Pipeline.open(bundle) as pipe,
        pytest.raises(UsageError, match="prediction_type is 'k_unet' and the first level has no"),
    ):
        pipe("x", image=small(0), sampler="ddim", sampler_options=zero_snr, num_inference_steps=4)
