"""OpenVINO GenAI's own times as stages; the library is a stand-in with its names."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.bench.protocol import Ask
from benchmarks.peers.workers.genai import GenAI
from runtimes.noise import Generator

ASK = Ask("a lighthouse", "blurry", 2, 7.5, "ddim", 5, 16, 16)


class FakePipeline:
    """Draws the mean of its noise."""

    made: FakePipeline

    def __init__(self, folder: str) -> None:
        self.folder, self.told = folder, {}
        FakePipeline.made = self

    def set_scheduler(self, scheduler: object) -> None:
        self.scheduler = scheduler

    def compile(self, device: str, **options: object) -> None:
        self.told = {"device": device, **options}

    def generate(self, prompt: str, **given: Any) -> Any:
        self.noise = given["generator"].randn_tensor((1, 4, 2, 2))
        data = np.full((1, given["height"], given["width"], 3), 51, np.uint8)
        return SimpleNamespace(data=data)

    def get_performance_metrics(self) -> Any:
        return SimpleNamespace(
            get_text_encoder_infer_duration=lambda: {"text_encoder": 4.0, "text_encoder_2": 1.5},
            get_vae_decoder_infer_duration=lambda: 30.0,
            raw_metrics=SimpleNamespace(unet_inference_durations=[2000.0, 3000.0]),
        )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = SimpleNamespace(
        Type=SimpleNamespace(DDIM="DDIM"), from_config=lambda config, kind: (config, kind)
    )
    fake = SimpleNamespace(Text2ImagePipeline=FakePipeline, Scheduler=scheduler, Generator=object)
    monkeypatch.setitem(sys.modules, "openvino_genai", fake)  # pyright: ignore[reportArgumentType]
    fake_openvino = SimpleNamespace(Tensor=lambda array: array)
    monkeypatch.setitem(sys.modules, "openvino", fake_openvino)  # pyright: ignore[reportArgumentType]


@pytest.mark.usefixtures("library")
def test_its_own_times_are_the_stages(tmp_path: Path) -> None:
    subject = GenAI("folder", 2, "int8")
    opened = subject.open()
    assert (opened.precision, opened.threads, opened.device) == ("int8", 2, "CPU")
    assert FakePipeline.made.scheduler == ("folder/scheduler/scheduler_config.json", "DDIM")
    assert FakePipeline.made.told == {
        "device": "CPU",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": 2,
    }
    place = tmp_path / "picture.npy"
    stages = subject.draw(replace(ASK, picture=str(place))).stages
    assert stages.pop("picture")[0] > 0
    assert stages == {"text_encoder": [5.5], "unet_call": [2.0, 3.0], "vae_decoder": [30.0]}
    np.testing.assert_array_equal(FakePipeline.made.noise, Generator(5).randn((1, 4, 2, 2)))
    np.testing.assert_allclose(np.load(place), np.full((1, 16, 16, 3), 0.2), atol=1e-7)


@pytest.mark.usefixtures("library")
def test_given_noise_must_fit(tmp_path: Path) -> None:
    subject = GenAI("folder", 2, "fp16")
    subject.open()
    np.save(tmp_path / "latents.npy", np.zeros((1, 4, 3, 3), np.float32))
    with pytest.raises(RuntimeError, match=r"noise of shape \[1, 4, 2, 2\]"):
        subject.draw(replace(ASK, latents=str(tmp_path / "latents.npy")))
    with pytest.raises(ValueError, match="measured with ddim"):
        subject.draw(replace(ASK, sampler="euler"))
