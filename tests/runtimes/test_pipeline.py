"""The pipeline over networks that are formulas: every picture can be worked out by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from runtimes.bundle import read_json
from runtimes.engine import ENGINES
from runtimes.errors import BundleError, EngineError, UsageError
from runtimes.machine import machine
from runtimes.manifest import Defaults, Graph, read_manifest
from runtimes.noise import Generator
from runtimes.pipeline import Pipeline
from runtimes.prompts import PromptTruncated
from runtimes.prompts.check import NegativePromptUnused
from runtimes.result import Cancelled, Preview
from runtimes.samplers import SAMPLERS
from runtimes.tokenizer import ClipTokenizer
from tests.runtimes import fakes
from tests.runtimes.fakes import SCALING, SCHEDULER, FakeEngine, made

Write = Callable[..., Path]
Floats = NDArray[Any]

# The loop computes in float32 on values up to 15 (Euler's sigmas), over few steps: some units in
# the last place of 16, which are 1e-6 each. The reference is float64.
TOLERANCE = 2e-5


def assert_near(found: Floats, expected: Floats, where: str = "") -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE, err_msg=where)


def noise(seed: int, count: int = 1, height: int = 4, width: int = 3) -> Floats:
    return Generator(seed).randn((count, 4, height, width)).astype(np.float64)


def embeddings(bundle: Path, *prompts: str) -> Floats:
    tokenizer = ClipTokenizer.open(bundle / "tokenizer")
    return fakes.embed(tokenizer(prompts).input_ids).astype(np.float64)


def eps(x: Floats, timestep: float, context: Floats) -> Floats:
    """The fake U-Net in float64."""
    bias = context.mean(axis=1)[:, :, np.newaxis, np.newaxis]
    return 0.5 * np.tanh(x) * np.cos(timestep / 1000) + bias


def euler(x: Floats, cond: Floats, uncond: Floats, scale: float, steps: int) -> list[Floats]:
    """Guided Euler after the papers, in float64: latents after each step."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    alphas_cumprod = np.cumprod(1 - betas)
    sigmas = np.sqrt((1 - alphas_cumprod) / alphas_cumprod)
    timesteps = np.linspace(999, 0, steps)
    levels = np.append(np.interp(timesteps, np.arange(1000), sigmas), 0.0)
    x = x * levels[0]
    found: list[Floats] = []
    for timestep, sigma, after in zip(timesteps, levels, levels[1:], strict=False):
        scaled = x / np.sqrt(sigma**2 + 1)
        without, towards = eps(scaled, timestep, uncond), eps(scaled, timestep, cond)
        x = x + (after - sigma) * (without + scale * (towards - without))
        found.append(x)
    return found


class Recorder:
    """A callback that keeps the previews."""

    def __init__(self) -> None:
        self.seen: list[Preview] = []

    def __call__(self, preview: Preview) -> None:
        self.seen.append(preview)


# --- the trajectory and the pictures


EULER_SCHEDULER = {**SCHEDULER, "timestep_spacing": "linspace"}


@pytest.mark.parametrize("batch", ["batch", 1, 2, 3])
def test_trajectory_is_that_of_the_papers(fake_bundle: Write, batch: int | str) -> None:
    bundle = fake_bundle(batch=batch, scheduler=EULER_SCHEDULER)
    steps = Recorder()
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            "a red circle",
            "a blue square",
            sampler="euler",
            num_inference_steps=5,
            guidance_scale=7.5,
            seed=3,
            callback=steps,
        )
    cond, uncond = embeddings(bundle, "a red circle"), embeddings(bundle, "a blue square")
    expected = euler(noise(3), cond, uncond, 7.5, 5)
    assert [(step.index, step.total) for step in steps.seen] == [(i, 5) for i in range(5)]
    for step, latents in zip(steps.seen, expected, strict=True):
        assert_near(step.latents, latents, f"step {step.index}")
    np.testing.assert_array_equal(result.latents, steps.seen[-1].latents)
    assert result.latents.dtype == np.float32


def test_pictures_are_the_decoded_latents(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        result = pipe("a red circle", seed=3)
    assert isinstance(result.images, list)
    decoded = fakes.decode((result.latents / np.float32(SCALING)).astype(np.float32))
    unit = np.clip(decoded.astype(np.float64) / 2 + 0.5, 0, 1)
    expected = np.round(np.moveaxis(unit, 1, 3) * 255)
    found = np.stack([np.asarray(image) for image in result.images])
    assert found.shape == (1, 32, 24, 3)
    # One level: a value may lie on the edge of rounding.
    np.testing.assert_allclose(found, expected, atol=1, rtol=0)
    assert (found == expected).mean() > 0.99
    assert found.std() > 0


def test_output_types(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pil, array, latent = (
            pipe("x", seed=1, output_type=kind) for kind in ("pil", "np", "latent")
        )
    assert isinstance(pil.images, list)
    assert isinstance(array.images, np.ndarray)
    assert (array.images.shape, array.images.dtype) == ((1, 32, 24, 3), np.float32)
    np.testing.assert_array_equal(np.round(array.images[0] * 255), np.asarray(pil.images[0]))
    np.testing.assert_array_equal(latent.images, pil.latents)
    assert made("vae_decoder").calls[2:] == []


def test_prediction_type_is_the_manifests(fake_bundle: Write) -> None:
    scheduler = {**SCHEDULER, "set_alpha_to_one": True}
    steps = Recorder()
    with Pipeline.open(fake_bundle(prediction_type="sample", scheduler=scheduler)) as pipe:
        result = pipe("x", seed=1, guidance_scale=1, callback=steps)
    # A network that predicts the clean latents is believed, and DDIM ends on what it said.
    last = made("unet").calls[-1]
    output = fakes.predict(last["sample"], last["timestep"], last["encoder_hidden_states"])
    assert_near(result.latents, output)
    np.testing.assert_array_equal(steps.seen[-1].denoised, output)


# --- batches, prompts, guidance


def test_unconditional_half_comes_first(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    with Pipeline.open(bundle) as pipe:
        pipe("a red circle", "blue", seed=0, num_inference_steps=2)
    first = made("unet").calls[0]
    assert len(made("unet").calls) == 2
    context = first["encoder_hidden_states"]
    np.testing.assert_array_equal(context, embeddings(bundle, "blue", "a red circle"))
    np.testing.assert_array_equal(first["sample"][0], first["sample"][1])


@pytest.mark.parametrize(
    ("batch", "scale", "calls"),
    [("batch", 7.5, 2), (1, 7.5, 4), (2, 7.5, 2), (4, 7.5, 2), ("batch", 1, 2), (1, 0, 2)],
)
def test_calls_of_the_unet(fake_bundle: Write, batch: int | str, scale: float, calls: int) -> None:
    with Pipeline.open(fake_bundle(batch=batch)) as pipe:
        result = pipe("x", seed=0, num_inference_steps=2, guidance_scale=scale)
    assert len(made("unet").calls) == calls
    assert len(result.timings.unet) == calls


def test_without_guidance_the_negative_prompt_plays_no_part(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        plain = pipe("a red circle", seed=0, guidance_scale=1)
        with pytest.warns(NegativePromptUnused):
            negative = pipe("a red circle", "blue", seed=0, guidance_scale=1)
        guided = pipe("a red circle", "blue", seed=0, guidance_scale=1.01)
    np.testing.assert_array_equal(plain.latents, negative.latents)
    assert np.abs(plain.latents - guided.latents).max() > 1e-4
    assert len(made("text_encoder").calls[1]["ids"]) == 1


def test_no_negative_prompt_is_the_empty_one(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        none, empty = pipe("x", None, seed=0), pipe("x", "", seed=0)
    np.testing.assert_array_equal(none.latents, empty.latents)
    assert none.settings.negative_prompt == ("",)


@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_each_picture_has_its_prompt_and_its_noise(fake_bundle: Write, batch: int | str) -> None:
    prompts, negatives = ["a red circle", "blue"], ["dark", "bright"]
    with Pipeline.open(fake_bundle(batch=batch)) as pipe:
        result = pipe(prompts, negatives, seed=5, num_images_per_prompt=2)
        start = noise(5, count=4).astype(np.float32)
        for i, latents in enumerate(result.latents):
            one = pipe(prompts[i // 2], negatives[i // 2], latents=start[i : i + 1])
            assert_near(latents, one.latents[0], f"picture {i}")
    assert len(result.images) == 4
    assert np.abs(result.latents[0] - result.latents[1]).max() > 0.1


def test_each_distinct_text_is_encoded_once(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe(["a", "b", "a"], seed=0)
    assert [len(call["ids"]) for call in made("text_encoder").calls] == [3]


def test_feeds_have_the_types_of_the_ports(fake_bundle: Write) -> None:
    # The fake engine refuses others; here are fp16 latents, whole timesteps and int32 ids.
    with Pipeline.open(fake_bundle(sample="float16", timestep="int64")) as pipe:
        found = pipe("x", seed=0)
    with Pipeline.open(fake_bundle()) as pipe:
        exact = pipe("x", seed=0)
    assert found.latents.dtype == np.float32
    # fp16 keeps 11 bits: 5e-4 of values up to about 4, times guidance.
    np.testing.assert_allclose(found.latents, exact.latents, atol=0.05, rtol=0)
    assert np.abs(found.latents - exact.latents).max() > 0


def test_large_pictures_are_decoded_one_by_one(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe("x", height=512, width=512, num_images_per_prompt=3, num_inference_steps=1)
        pipe("x", num_images_per_prompt=3, num_inference_steps=1)
    sizes = [len(call["latent_sample"]) for call in made("vae_decoder").calls]
    assert sizes == [1, 1, 1, 3]


# --- the VAE in tiles


def cells_decoded() -> list[tuple[int, ...]]:
    return [call["latent_sample"].shape for call in made("vae_decoder").calls]


def test_tiles_are_of_the_size_that_was_asked_for(fake_bundle: Write) -> None:
    size: dict[str, Any] = {"height": 256, "width": 136, "num_inference_steps": 1, "seed": 0}
    with Pipeline.open(fake_bundle()) as pipe:
        whole = pipe("x", output_type="np", **size)
        assert cells_decoded() == [(1, 4, 32, 17)]
        tiled = pipe("x", output_type="np", vae_tile=128, **size)
    assert cells_decoded()[1:] == [(1, 4, 16, 16)] * 6
    assert tiled.settings.vae_tile == 128
    assert whole.settings.vae_tile is None
    # The fake decoder sees one cell at a time: tiles change nothing but roundings.
    assert_near(np.asarray(tiled.images), np.asarray(whole.images))
    assert np.std(np.asarray(whole.images)) > 0.05


def test_large_pictures_alone_go_in_tiles(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe("x", height=512, width=512, num_inference_steps=1)
        pipe("x", height=512, width=520, num_inference_steps=1)
        pipe("x", height=512, width=520, num_inference_steps=1, vae_tile=8192)
    assert cells_decoded() == [(1, 4, 64, 64), *[(1, 4, 64, 64)] * 2, (1, 4, 64, 65)]


def test_pictures_of_the_models_own_size_go_whole(fake_bundle: Write) -> None:
    defaults = Defaults(
        height=768, width=768, num_inference_steps=1, guidance_scale=1.0, sampler="ddim"
    )
    with Pipeline.open(fake_bundle(defaults=defaults)) as pipe:
        pipe("x")
    assert cells_decoded() == [(1, 4, 96, 96)]


def test_decoder_that_was_built_smaller_works_in_tiles(fake_bundle: Write) -> None:
    bundle = fake_bundle(height=40, decoder_height=16, width=5)
    with Pipeline.open(bundle) as pipe:
        found = pipe("x", seed=0, num_inference_steps=1)
    assert (found.settings.height, found.settings.width) == (320, 40)
    assert set(cells_decoded()) == {(1, 4, 16, 5)}


def test_decoder_built_for_more_than_the_tiles_is_told(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(height=24, width=24)) as pipe:
        with pytest.raises(
            UsageError, match=r"vae_tile 128 can't be used: .* built for 192 pixels"
        ):
            pipe("x", vae_tile=128)
        assert pipe("x", vae_tile=192).settings.vae_tile == 192


def test_previews_are_decoded_in_the_same_tiles(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe(
            "x",
            height=256,
            width=128,
            num_inference_steps=1,
            vae_tile=128,
            output_type="latent",
            callback=lambda preview: preview.picture() and None,
        )
    assert set(cells_decoded()) == {(1, 4, 16, 16)}


# --- defaults and seeds


def test_defaults_are_the_manifests(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        settings = pipe("x", seed=0).settings
    assert msgspec.to_builtins(settings) == {
        "prompt": ("x",),
        "negative_prompt": ("",),
        "num_inference_steps": 4,
        "guidance_scale": 7.5,
        "seed": 0,
        "sampler": "ddim",
        "height": 32,
        "width": 24,
        "num_images_per_prompt": 1,
        "task": "text-to-image",
        "strength": None,
        "mask_blur": 0.0,
        "padding_mask_crop": None,
        "variation_seed": None,
        "variation_strength": 0.0,
        "input_sha256": {},
        "vae_tile": None,
        "guidance_rescale": 0.0,
        "guidance_interval": (0.0, 1.0),
        "guidance_embedded": False,
        "perp_neg": False,
        "negative_weight": 1.0,
        "prompt_syntax": "plain",
        "long_prompts": "truncate",
        "clip_skip": 0,
        "embeddings_sha256": None,
        "noise_level": None,
        "schedule": "plain",
        "spacing": "leading",
        "sigmas": None,
        "timesteps": None,
        "sampler_options": {},
        "prompt_2": None,
        "negative_prompt_2": None,
        "zero_negative": False,
        "original_size": None,
        "crops_coords_top_left": None,
        "target_size": None,
        "aesthetic_score": None,
        "negative_original_size": None,
        "negative_crops_coords_top_left": None,
        "negative_target_size": None,
        "negative_aesthetic_score": None,
        "denoising_end": None,
        "denoising_start": None,
        "refiner_start": None,
        "image_guidance_scale": None,
    }


def test_settings_that_were_used_make_the_picture_again(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first = pipe("x", "y", sampler="euler", schedule="karras", height=16, seed=None)
        again = pipe.run(first.settings)
    assert first.settings.schedule == "karras"
    np.testing.assert_array_equal(first.latents, again.latents)


@pytest.mark.parametrize(
    "said",
    [
        {"sampler": "euler", "sigmas": [14.0, 3.0, 0.5, 0.0]},
        {"timesteps": [900, 500, 20]},
        {"schedule": "ays", "num_inference_steps": 10},
        {"schedule": "ays", "num_inference_steps": 6},
        {"sampler": "dpmpp-2m", "schedule": "ays", "num_inference_steps": 6},
        {"sampler": "dpm-2m", "schedule": "ays", "num_inference_steps": 6},
        {"sampler": "heun", "schedule": "ays", "num_inference_steps": 3},
        {"sampler": "dpm2-a", "sigmas": [14.0, 3.0, 0.5]},
        {"spacing": "trailing", "sampler_options": {"eta": 0.5, "rescale_betas_zero_snr": False}},
        {"sampler": "euler", "sampler_options": {"use_beta_sigmas": True}},
        {"sampler": "euler", "sampler_options": {"timestep_spacing": "trailing"}},
        {"sampler": "dpmpp-2m", "schedule": "lu"},
    ],
)
def test_settings_that_were_settled_settle_to_the_same(
    fake_bundle: Write, said: dict[str, Any]
) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first = pipe("x", seed=1, **said)
        names = ("prompt", "seed", "sampler", "num_inference_steps", "schedule", "spacing")
        names += ("sigmas", "timesteps", "sampler_options")
        again: Any = pipe(**{name: getattr(first.settings, name) for name in names})
        plain = pipe("x", seed=1, sampler=said.get("sampler"))
    assert first.settings == again.settings
    np.testing.assert_array_equal(first.latents, again.latents)
    assert np.abs(first.latents - plain.latents).max() > 0.01


def test_given_timesteps_are_those_the_network_sees(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        settings = pipe("x", seed=0, timesteps=[900, 500, 20]).settings
    assert [call["timestep"].item() for call in made("unet").calls] == [900, 500, 20]
    assert (settings.num_inference_steps, settings.schedule, settings.spacing) == (3, None, None)
    assert settings.timesteps == (900.0, 500.0, 20.0)


def test_a_prediction_type_that_is_said_is_the_networks(fake_bundle: Write) -> None:
    options = {"prediction_type": "v_prediction"}
    with Pipeline.open(fake_bundle(prediction_type="v_prediction")) as pipe:
        theirs = pipe("x", seed=0, sampler="euler")
    with Pipeline.open(fake_bundle()) as pipe:
        said = pipe("x", seed=0, sampler="euler", sampler_options=options)
        unsaid = pipe("x", seed=0, sampler="euler")
    np.testing.assert_array_equal(said.latents, theirs.latents)
    assert np.abs(said.latents - unsaid.latents).max() > 0.01


def test_a_scheduler_that_no_sampler_follows_is_refused_unless_one_is_named(
    fake_bundle: Write,
) -> None:
    config = {**SCHEDULER, "_class_name": "SASolverScheduler"}
    with Pipeline.open(fake_bundle(scheduler=config)) as pipe:
        with pytest.raises(UsageError) as raised:
            pipe("x")
        assert not made("unet").calls
        pipe("x", sampler="ddim")
    assert "no sampler follows SASolverScheduler; the nearest is 'unipc'" in str(raised.value)


def test_noise_that_no_sampler_gives_is_refused_before_any_work(fake_bundle: Write) -> None:
    config = {**SCHEDULER, "_class_name": "FlowMatchEulerDiscreteScheduler"}
    with Pipeline.open(fake_bundle(scheduler=config)) as pipe:
        with pytest.raises(UsageError, match="noise of another law than sampler 'ddim' and all"):
            pipe("x", sampler="ddim")
        assert not made("unet").calls


def test_an_unknown_field_of_the_scheduler_config_is_refused(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(scheduler={**SCHEDULER, "step_offset": 1})) as pipe:
        with pytest.raises(UsageError, match=r"unknown field 'step_offset', .*'steps_offset'"):
            pipe("x", sampler="ddim")
        assert not made("unet").calls


def test_absent_seeds_are_drawn_and_told(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first, second = pipe("x"), pipe("x")
        again = pipe("x", seed=first.seed)
    assert first.seed != second.seed
    assert 0 <= first.seed < 2**32
    np.testing.assert_array_equal(first.latents, again.latents)


def test_seed_0_is_a_seed(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        found, again = pipe("x", seed=0), pipe("x", seed=0)
    assert found.seed == 0
    np.testing.assert_array_equal(found.latents, again.latents)


def test_origin_names_bundle_and_device(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    with Pipeline.open(bundle, device="npu", threads=3) as pipe:
        origin = pipe("x", seed=0).origin
    assert (origin.engine, origin.device, origin.threads) == ("fake 1.2.3", "npu", 3)
    assert [(e.device, e.threads) for e in FakeEngine.made] == [("npu", 3)] * 3
    assert origin.machine == machine()
    assert origin.bundle_sha256 == fakes.hash_file(bundle / "latedge.json")


# --- what is refused, before the first call of an engine


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_inference_steps": 0}, "num_inference_steps must be a whole number from 1 to 1000"),
        ({"num_inference_steps": 1001}, "from 1 to 1000, not 1001."),
        ({"num_inference_steps": 10_000}, "from 1 to 1000, not 10000."),
        ({"num_inference_steps": -1}, "from 1 to 1000, not -1."),
        ({"num_inference_steps": 2.5}, "from 1 to 1000, not 2.5."),
        ({"guidance_scale": float("nan")}, "guidance_scale must be a finite number, not nan."),
        ({"guidance_scale": "7"}, "guidance_scale must be a finite number, not '7'."),
        ({"guidance_scale": 0.5}, "guidance_scale must be 1 or more, not 0.5; 1 .or 0. turns"),
        ({"guidance_scale": -1}, "guidance_scale must be 1 or more, not -1; 1 .or 0. turns"),
        ({"seed": 2**64}, "a whole number from .*, not 1844"),
        ({"seed": -(2**63) - 1}, r"a whole number from -2\^63 to 2\^64-1, not -9223"),
        ({"seed": "7"}, "a whole number from .*, not '7'."),
        ({"seed": 1.5}, "a whole number from .*, not 1.5."),
        ({"seed": True}, "a whole number from .*, not True."),
        ({"sampler": "eular"}, r"unknown sampler 'eular'; known are .*Did you mean 'euler'\?"),
        ({"sampler": "ddim", "schedule": "karras"}, "'ddim' has no sigmas to follow"),
        ({"schedule": "ays", "num_inference_steps": 900}, "steps is 900; with schedule 'ays'"),
        ({"sigmas": [1, 2, 0]}, "sigmas must descend, but value 2 is 2"),
        ({"timesteps": [1000, 1]}, "timesteps begin at 1000; the schedule's are 0 to 999"),
        (
            {"timesteps": [999, 1], "num_inference_steps": 3},
            r"num_inference_steps is 3, but the timesteps given make 2 step\(s\)",
        ),
        (
            {"sigmas": [3, 1, 0], "sampler": "euler", "num_inference_steps": 1},
            r"num_inference_steps is 1, but the sigmas given make 2 step\(s\)",
        ),
        ({"timesteps": [9, 1], "schedule": "karras"}, "schedule is 'karras', and timesteps are"),
        ({"spacing": "even"}, "unknown spacing 'even'; known are leading, linspace, trailing."),
        ({"sampler_options": {"eta": 2}}, "sampler options: Expected `float` <= 1.0"),
        ({"sampler_options": {"etaa": 2}}, r"'ddim' has no option 'etaa'; .*Did you mean 'eta'\?"),
        ({"num_images_per_prompt": 0}, "num_images_per_prompt must be a whole number from 1"),
        ({"height": 33}, "height 33 is not a multiple of 8, the VAE's factor; nearest are 32"),
        ({"width": 0}, "width must be from 8 to 8192 pixels, not 0."),
        (
            {"noise_level": 20},
            "noise_level 20 says how much noise upscaling adds .* text-to-image;",
        ),
        ({"vae_tile": 64}, "vae_tile must be a whole number of pixels from 128 to 8192, not 64;"),
        ({"vae_tile": 8200}, "from 128 to 8192, not 8200; leave it out for the automatic size."),
        ({"vae_tile": 256.5}, "from 128 to 8192, not 256.5;"),
        ({"vae_tile": 130}, "vae_tile 130 is not a multiple of 8, .*; nearest are 128 and 136."),
        ({"output_type": "pill"}, r"unknown output_type 'pill'; .*Did you mean 'pil'\?"),
        ({"latents": np.zeros((1, 4, 4, 4))}, r"latents have shape \(1, 4, 4, 4\); the settings"),
        ({"prompt": []}, "prompt is an empty list; the empty text '' is allowed."),
        ({"prompt": [1]}, "prompt holds 1, which is not text."),
        ({"prompt": None}, "prompt must be text or a list of texts, not NoneType."),
        ({"prompt": b"x"}, "prompt must be text or a list of texts, not bytes."),
        ({"negative_prompt": ["a", "b"]}, "there are 1 prompts, but 2 negative prompts."),
        ({"negative_prompt": 1}, "negative_prompt must be text or a list of texts, not int."),
        ({"prompt": "a\ud83d"}, r"prompt has a lone surrogate, U\+D83D, at character 1, which"),
        ({"negative_prompt": "\ud83d", "guidance_scale": 1}, "negative_prompt has a lone surr"),
        ({"callback": 3}, "callback must be a function, not int."),
        (
            {"guidance_interval": (0.3, 0.45)},
            r"guidance_interval \(0\.3, 0\.45\) holds none of the U-Net's 4 calls; widen it",
        ),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    fake_bundle: Write, arguments: dict[str, Any], message: str
) -> None:
    pipe: Any = Pipeline.open(fake_bundle())
    with pytest.raises(UsageError, match=message):
        pipe(**{"prompt": "x", **arguments})
    assert [len(engine.calls) for engine in FakeEngine.made] == [0, 0, 0]


@pytest.mark.parametrize("sampler", sorted({*SAMPLERS} - {"edm-euler"}))
def test_every_sampler_draws_and_its_settings_draw_it_again(
    fake_bundle: Write, tmp_path: Path, sampler: str
) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        first = pipe("x", seed=1).save(tmp_path / "x.png")[0]
        result = pipe("x", seed=1, sampler=sampler, num_inference_steps=4)
        assert np.isfinite(result.latents).all()
        np.testing.assert_array_equal(pipe.run(result.settings).latents, result.latents)
        changed = pipe.repeat(first, sampler=sampler, num_inference_steps=4)
    assert changed.settings.sampler == sampler


def test_fixed_sizes_are_the_default_and_no_others_are_taken(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(height=2, width=5)) as pipe:
        settings = pipe("x", seed=0).settings
        message = "height 32 can't be made: this bundle was built for height 16"
        with pytest.raises(UsageError, match=message):
            pipe("x", height=32)
    assert (settings.height, settings.width) == (16, 40)


def test_fractional_timesteps_are_refused_by_a_unet_of_whole_ones(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle(timestep="int64")) as pipe:
        message = r"'euler' visits timestep \d+\.\d\d .* takes whole ones only; other samplers"
        with pytest.raises(UsageError, match=message):
            pipe("x", sampler="euler", schedule="karras")
        pipe("x", sampler="ddim")


# --- prompts that don't fit


@pytest.mark.parametrize("prompt", ["", "🟥 über ■, 赤い丸"])
def test_empty_and_foreign_prompts_are_taken(fake_bundle: Write, prompt: str) -> None:
    with Pipeline.open(fake_bundle()) as pipe, warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe(prompt, seed=0)


def test_long_prompts_are_cut_with_a_warning(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        # Every letter is a token of this vocabulary: 75 of them fit.
        with pytest.warns(PromptTruncated) as caught:
            cut = pipe("a" * 75 + "bc", seed=0)
        kept = pipe("a" * 75, seed=0)
    texts = [str(warning.message) for warning in caught]
    assert texts == ["a prompt has more than 77 tokens; its end was dropped: 'bc'"]
    assert caught[0].filename == __file__
    assert cut.settings.prompt == ("a" * 75 + "bc",)
    assert np.abs(cut.latents - kept.latents).max() < 1.0


def test_what_was_dropped_is_quoted_in_part(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe, pytest.warns(PromptTruncated) as caught:
        pipe("a" * 10_000, seed=0)
    assert len(caught) == 1
    text = str(caught[0].message)
    assert text.endswith(f"'{'a' * 200}…' (9925 characters in all)")


def test_unused_negative_prompts_may_be_long(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe, pytest.warns() as caught:
        pipe("x", "a" * 100, seed=0, guidance_scale=1)
    assert [warning.category for warning in caught] == [NegativePromptUnused]
    assert str(caught[0].message) == (
        "the negative prompt plays no part: guidance_scale 1 turns guidance off"
    )
    assert caught[0].filename == __file__


# --- callbacks


def test_preview_shows_the_estimate(fake_bundle: Write) -> None:
    steps = Recorder()
    with Pipeline.open(fake_bundle()) as pipe:
        pipe(["a", "b"], seed=0, callback=steps)
        step = steps.seen[1]
        pictures = [step.picture(0), step.picture(1)]
    assert step.latents.shape == step.denoised.shape == (2, 4, 4, 3)
    assert step.timestep == 501.0
    for picture, denoised in zip(pictures, step.denoised, strict=True):
        decoded = fakes.decode((denoised / np.float32(SCALING))[np.newaxis])[0]
        unit = np.clip(decoded / 2 + 0.5, 0, 1)
        np.testing.assert_allclose(
            np.asarray(picture), np.moveaxis(unit, 0, 2) * 255, atol=0.51, rtol=0
        )


def test_latents_of_a_preview_stay_as_they_were(fake_bundle: Write) -> None:
    copies: list[Floats] = []
    steps = Recorder()

    def keep(preview: Preview) -> None:
        steps(preview)
        copies.append(preview.latents.copy())

    with Pipeline.open(fake_bundle()) as pipe:
        pipe("x", seed=0, callback=keep)
    for step, copy in zip(steps.seen, copies, strict=True):
        np.testing.assert_array_equal(step.latents, copy)


def test_returning_false_cancels(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        with pytest.raises(Cancelled, match="cancelled by the callback at step 2 of 4"):
            pipe("x", seed=0, callback=lambda step: step.index < 1)
        assert (len(made("unet").calls), len(made("vae_decoder").calls)) == (2, 0)
        pipe("x", seed=0)


@pytest.mark.parametrize("answer", [None, True])
def test_any_other_answer_goes_on(fake_bundle: Write, answer: bool | None) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        pipe("x", seed=0, callback=lambda _: answer)
    assert len(made("unet").calls) == 4


# --- faults


@pytest.mark.parametrize(
    ("component", "call", "message"),
    [
        ("unet", 0, "unet gave NaN or infinite values at step 1 of 4. Where .* fp16, take"),
        ("unet", 2, "unet gave NaN or infinite values at step 3 of 4. Where"),
        ("text_encoder", 0, "text_encoder gave NaN or infinite values. Where"),
        ("vae_decoder", 0, "vae_decoder gave NaN or infinite values. Where .* --arithmetic fp32`"),
    ],
)
def test_bad_values_stop_the_call_and_name_the_place(
    fake_bundle: Write, component: str, call: int, message: str
) -> None:
    FakeEngine.nan_at[component] = call
    with Pipeline.open(fake_bundle()) as pipe, pytest.raises(EngineError, match=message):
        pipe("x", seed=0)


def test_bad_values_in_a_preview_are_the_decoders(fake_bundle: Write) -> None:
    FakeEngine.nan_at["vae_decoder"] = 0
    with Pipeline.open(fake_bundle()) as pipe, pytest.raises(EngineError) as caught:
        pipe("x", seed=0, callback=lambda step: bool(step.picture().size))
    assert str(caught.value).startswith("vae_decoder gave NaN or infinite values. Where the bundle")


# --- opening and closing


def portable(bundle: Path) -> dict[str, object]:
    parts = read_manifest(bundle).components
    plain = {
        name: msgspec.structs.replace(
            part, graphs={"model": msgspec.structs.replace(part.graphs["model"], engine=None)}
        )
        for name, part in parts.items()
    }
    return {"components": plain}


def test_portable_bundles_are_to_be_compiled_first(fake_bundle: Write) -> None:
    bundle = fake_bundle(**portable(fake_bundle()))
    with pytest.raises(BundleError, match=r"is portable and can't run yet. Compile it first: lat"):
        Pipeline.open(bundle)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("embedding",)}, "can't make pictures; it is made for embedding."),
        ({"tasks": ()}, "it is made for no task that this version of latedge knows."),
        ({"components": {}}, "has no unet"),
        ({"tokenizers": {}}, "has no tokenizer for its text_encoder. Export it again."),
    ],
)
def test_bundles_for_something_else_are_refused(
    fake_bundle: Write, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Pipeline.open(fake_bundle(**changes))
    assert FakeEngine.made == []


def test_unknown_engines_are_refused(fake_bundle: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = fake_bundle()
    monkeypatch.delitem(ENGINES, "fake")
    with pytest.raises(
        UsageError, match="unknown engine 'fake'; known are coreml, onnxruntime, openv"
    ):
        Pipeline.open(bundle)


@pytest.mark.parametrize(("threads", "message"), [(0, "threads must be"), (2.0, "threads must be")])
def test_wrong_threads_are_refused(fake_bundle: Write, threads: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pipeline.open(fake_bundle(), threads=threads)


def unet_with(bundle: Path, **ports: object) -> dict[str, object]:
    parts = dict(read_manifest(bundle).components)
    graph = msgspec.structs.replace(parts["unet"].graphs["model"], **ports)
    parts["unet"] = msgspec.structs.replace(parts["unet"], graphs={"model": graph})
    return {"components": parts}


def test_graphs_with_other_ports_are_refused_before_any_is_loaded(fake_bundle: Write) -> None:
    plain = fake_bundle()
    ports = read_manifest(plain).components["unet"].graphs["model"].inputs
    extra = msgspec.structs.replace(ports[2], role="image_embeds", name="image_embeds")
    bundle = fake_bundle(**unet_with(plain, inputs=(*ports, extra)))
    message = "unet in .* takes .*image_embeds.*, where this version of latedge feeds"
    with pytest.raises(BundleError, match=message):
        Pipeline.open(bundle)
    assert FakeEngine.made == []


def test_what_was_loaded_is_freed_where_the_rest_cant_be(
    fake_bundle: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = FakeEngine.__init__

    def fail(self: FakeEngine, folder: Path, graph: Graph, **options: Any) -> None:
        if graph.file.startswith("unet/"):
            raise EngineError("unet/model.fake can't be loaded")
        load(self, folder, graph, **options)

    monkeypatch.setattr(FakeEngine, "__init__", fail)
    with pytest.raises(EngineError, match=r"unet/model\.fake can't be loaded"):
        Pipeline.open(fake_bundle())
    assert [(e.component, e.closed) for e in FakeEngine.made] == [("text_encoder", True)]


def test_graphs_without_the_output_are_refused(fake_bundle: Write) -> None:
    bundle = fake_bundle(**unet_with(fake_bundle(), outputs=()))
    with pytest.raises(BundleError, match=r"unet in .* gives nothing, and no out_sample"):
        Pipeline.open(bundle)


def test_types_that_numpy_lacks_are_refused(fake_bundle: Write) -> None:
    with pytest.raises(BundleError, match="sample is bfloat16, which NumPy doesn't have"):
        Pipeline.open(fake_bundle(sample="bfloat16"))


def test_closing_frees_every_engine(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()):
        assert [engine.closed for engine in FakeEngine.made] == [False] * 3
    assert [engine.closed for engine in FakeEngine.made] == [True] * 3


# --- times


def test_timings_cover_the_call(fake_bundle: Write) -> None:
    with Pipeline.open(fake_bundle()) as pipe:
        found = pipe("x", seed=0, callback=lambda _: None).timings
    stages = [found.tokenize, found.text_encoder, *found.unet, found.sampler, found.callback]
    assert len(found.unet) == 4
    assert min(stages) > 0
    assert found.vae_decoder > 0
    assert (found.vae_encoder, found.load) == (0, {})
    assert sum(stages) + found.vae_decoder <= found.total < 60_000


def test_scheduler_config_is_left_alone(fake_bundle: Write) -> None:
    bundle = fake_bundle()
    before = read_json(bundle / "scheduler/scheduler_config.json")
    with Pipeline.open(bundle) as pipe:
        pipe("x", seed=0, sampler="euler", schedule="karras")
        assert pipe.bundle.scheduler_config == before
