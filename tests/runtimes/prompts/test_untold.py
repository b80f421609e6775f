"""Bundles whose U-Net takes no text: what they need, and what can't be said to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import latedge
from runtimes.abilities import needed
from runtimes.bundle import Bundle, open_bundle
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs
from runtimes.pipeline import Pipeline
from runtimes.prompts.encoders import takes_text
from runtimes.prompts.given import EMBEDDINGS
from runtimes.settle import settle
from tests.runtimes.fakes import FakeEngine

Write = Callable[..., Path]
Capture = pytest.CaptureFixture[str]

TEXTLESS: dict[str, Any] = {"text": False, "tasks": ("unconditional",)}


def test_text_is_taken_where_the_unet_has_an_input_for_it(fake_bundle: Write) -> None:
    textless, other = open_bundle(fake_bundle(**TEXTLESS)), open_bundle(fake_bundle())
    assert (takes_text(textless), needed(textless)) == (False, ("unet", "vae_decoder"))
    assert (takes_text(other), needed(other)) == (True, ("text_encoder", "unet", "vae_decoder"))


def test_no_text_encoder_is_wanted_or_loaded(fake_bundle: Write) -> None:
    for memory in ("high", "low"):
        FakeEngine.made.clear()
        with Pipeline.open(fake_bundle(**TEXTLESS), memory=memory) as pipe:
            result = pipe(seed=1, num_images_per_prompt=2, output_type="np")
        assert {engine.component for engine in FakeEngine.made} == {"unet", "vae_decoder"}
        assert np.asarray(result.images).shape == (2, 32, 24, 3)
        assert (result.settings.task, result.settings.prompt) == ("unconditional", ("",))


def test_text_encoder_is_missed_where_the_unet_takes_text(fake_bundle: Write) -> None:
    opened = open_bundle(fake_bundle())
    kept = {k: v for k, v in opened.manifest.components.items() if k != "text_encoder"}
    bare = Bundle(opened.path, msgspec.structs.replace(opened.manifest, components=kept))
    with pytest.raises(BundleError, match=r"has no text_encoder \(it has: unet, vae_decoder\)"):
        settle(bare, "x")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"prompt": "a cat"}, "prompt 'a cat'"),
        ({"prompt": ["", "a cat"]}, r"prompt \['', 'a cat'\]"),
        ({"negative_prompt": "dark"}, "negative_prompt 'dark'"),
        ({"guidance_scale": 7.5}, "guidance_scale 7.5"),
        ({"guidance_rescale": 0.5}, "guidance_rescale 0.5"),
        ({"guidance_interval": (0.1, 0.9)}, r"guidance_interval \(0.1, 0.9\)"),
        ({"perp_neg": True}, "perp_neg True"),
        ({"negative_weight": 2.0}, "negative_weight 2.0"),
        ({"prompt_syntax": "a1111"}, "prompt_syntax 'a1111'"),
        ({"long_prompts": "chunks"}, "long_prompts 'chunks'"),
        ({"clip_skip": 1}, "clip_skip 1"),
        ({"prompt_2": "a cat"}, "prompt_2 'a cat'"),
        ({"negative_prompt_2": "dark"}, "negative_prompt_2 'dark'"),
    ],
)
def test_what_is_said_of_text_is_refused(
    fake_bundle: Write, options: dict[str, Any], named: str
) -> None:
    message = f"^{named} can't be given: this bundle's U-Net takes no text, and nothing guides it"
    with pytest.raises(UsageError, match=message) as caught:
        settle(open_bundle(fake_bundle(**TEXTLESS)), **options)
    assert "\n" not in str(caught.value)


def test_embeddings_are_refused(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle(**TEXTLESS))
    embeddings = np.zeros((1, 77, 4), np.float32)
    for name in EMBEDDINGS:
        with pytest.raises(UsageError, match=f"^{name} can't be given: "):
            settle(bundle, inputs=replace(Inputs(), **{name: embeddings}))
    with (
        Pipeline.open(bundle) as pipe,
        pytest.raises(UsageError, match=r"takes no text: there is nothing to encode\.$"),
    ):
        pipe.encode("x")


def test_default_guidance_plays_no_part(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle(**TEXTLESS))
    assert bundle.manifest.defaults.guidance_scale == 7.5
    assert settle(bundle).guidance_scale == 1


def test_what_says_nothing_is_taken(fake_bundle: Write) -> None:
    bundle = open_bundle(fake_bundle(**TEXTLESS))
    plain: dict[str, Any] = {
        "prompt_syntax": "plain",
        "long_prompts": "truncate",
        "clip_skip": 0,
        "seed": 1,
    }
    told = settle(bundle, "", "", guidance_scale=1, perp_neg=False, guidance_rescale=0.0, **plain)
    assert told == settle(bundle, seed=1)
    assert settle(bundle, guidance_scale=0, seed=1).guidance_scale == 0


def test_sides_are_multiples_that_the_unet_takes(fake_bundle: Write) -> None:
    latents = msgspec.structs.replace(open_bundle(fake_bundle()).manifest.latents, multiple=2)
    bundle = open_bundle(fake_bundle(**TEXTLESS, latents=latents))
    assert settle(bundle, height=48, width=16).height == 48
    message = "height 40 is not a multiple of 16, as this bundle's U-Net takes them; nearest are 32"
    with pytest.raises(UsageError, match=f"{message} and 48"):
        settle(bundle, height=40, width=16)
    with pytest.raises(UsageError, match=r"width 8 is not a multiple of 16, .*are 16 and 32"):
        settle(bundle, height=48, width=8)


def test_command_line_takes_no_prompt_and_repeats_the_picture(
    fake_bundle: Write, tmp_path: Path, capsys: Capture
) -> None:
    bundle, first, again = fake_bundle(**TEXTLESS), tmp_path / "x.png", tmp_path / "y.png"
    assert latedge.main(["generate", str(bundle), "-o", str(first)]) == 0
    assert latedge.main(["generate", str(bundle), "-o", str(again), "--from", str(first)]) == 0
    assert capsys.readouterr().err == ""
    with Image.open(first) as one, Image.open(again) as other:
        assert one.info["latedge"] == other.info["latedge"]
        assert one.tobytes() == other.tobytes()
        assert len(set(one.tobytes())) > 4
    assert latedge.main(["generate", str(bundle), "a cat", "-o", str(first)]) == 2
    assert "prompt 'a cat' can't be given" in capsys.readouterr().err
