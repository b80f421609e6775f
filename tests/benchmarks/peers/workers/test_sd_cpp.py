"""stable-diffusion.cpp's reports as stages; the library is a stand-in with its names and lines."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.bench.protocol import Ask
from benchmarks.peers.workers.sd_cpp import StableDiffusionCpp

ASK = Ask("a lighthouse", "blurry", 2, 7.5, "ddim", 5, 16, 16)


class FakeModel:
    """Tells what the real one tells, in its order."""

    made: FakeModel
    log: Any = None

    def __init__(self, **given: Any) -> None:
        self.given = given
        FakeModel.made = self

    def generate_image(self, **given: Any) -> list[Image.Image]:
        self.asked = given
        say = FakeModel.log
        say(1, b"get_learned_condition completed, taking 1.25s", None)
        given["progress_callback"](0, 2, 0.0)
        for step in (1, 2):
            time.sleep(0.003)
            given["progress_callback"](step, 2, 0.003)
        say(1, b"sampling completed, taking 0.01s", None)
        say(1, b"decoding 1 latents", None)
        time.sleep(0.003)
        say(1, b"latent 1 decoded, taking 0.00s", None)
        say(1, b"decode_first_stage completed, taking 0.00s", None)
        return [Image.new("RGBA", (given["width"], given["height"]), (51, 102, 255, 255))]


@pytest.fixture(autouse=True)
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    def take(callback: Any, data: object) -> None:
        FakeModel.log = callback

    fake = SimpleNamespace(
        StableDiffusion=FakeModel, sd_log_callback=lambda f: f, sd_set_log_callback=take
    )
    monkeypatch.setitem(sys.modules, "stable_diffusion_cpp", fake)  # pyright: ignore[reportArgumentType]


def test_its_reports_are_the_stages(tmp_path: Path) -> None:
    subject = StableDiffusionCpp("model.safetensors", 2, "fp16")
    opened = subject.open()
    assert (opened.precision, opened.threads) == ("fp16", 2)
    assert FakeModel.made.given["n_threads"] == 2, "by itself it takes half the cores"
    place = tmp_path / "picture.npy"
    for _ in range(2):
        stages = subject.draw(replace(ASK, picture=str(place))).stages
        assert stages["text_encoder"] == [1250.0]
        assert [len(stages[name]) for name in ("unet_call", "vae_decoder", "picture")] == [2, 1, 1]
        assert min(*stages["unet_call"], *stages["vae_decoder"]) >= 3
        assert stages["picture"][0] >= 9
    assert FakeModel.made.asked["sample_method"] == "ddim_trailing"
    found = np.load(place)
    assert found.shape == (1, 16, 16, 3), "without its alpha channel"
    np.testing.assert_allclose(found[0, 0, 0], [0.2, 0.4, 1.0], atol=1e-6)


def test_its_own_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: FakeModel, **given: Any) -> None:
        FakeModel.log(1, b"loading", None)
        FakeModel.log(3, b"[ERROR] wrong shape\n", None)
        FakeModel.log(3, b"[ERROR] and so no model\n", None)
        raise ValueError("NULL pointer access")

    monkeypatch.setattr(FakeModel, "__init__", fail)
    with pytest.raises(RuntimeError, match=r"^\[ERROR\] wrong shape$"):
        StableDiffusionCpp("model.safetensors", 2, "fp16").open()


def test_other_samplers_are_refused() -> None:
    subject = StableDiffusionCpp("model.safetensors", 2, "fp16")
    subject.open()
    with pytest.raises(ValueError, match="sampler 'euler': known here is ddim"):
        subject.draw(replace(ASK, sampler="euler"))
