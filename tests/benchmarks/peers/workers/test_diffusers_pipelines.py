"""diffusers as it is measured: its own picture, each stage as often as it is called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench.protocol import Ask
from benchmarks.peers.workers.diffusers_pipelines import Pipelines
from runtimes.noise import Generator

ASK = Ask("a lighthouse", "blurry", 3, 7.5, "ddim", 5, 64, 64)


@pytest.fixture(scope="module")
def tiny(tiny_sd15: Path) -> Pipelines:
    pipelines = Pipelines("diffusers", str(tiny_sd15), 1, "fp32", compiled=False)
    opened = pipelines.open()
    assert opened.engine.startswith("diffusers 0.")
    assert "torch 2." in opened.engine
    assert (opened.precision, opened.threads) == ("fp32", 1)
    assert opened.packages.keys() == {"diffusers", "torch", "transformers"}
    return pipelines


def test_stages(tiny: Pipelines) -> None:
    stages = tiny.draw(ASK).stages
    counts = {name: len(times) for name, times in stages.items()}
    assert counts == {"text_encoder": 1, "unet_call": 3, "vae_decoder": 1, "picture": 1}
    parts = sum(sum(times) for name, times in stages.items() if name != "picture")
    assert 0 < parts < stages["picture"][0]
    assert len(tiny.draw(replace(ASK, num_inference_steps=2)).stages["unet_call"]) == 2


def test_seed_and_its_noise_give_one_picture(tiny: Pipelines, tmp_path: Path) -> None:
    import torch

    factor = tiny._pipeline.vae_scale_factor  # pyright: ignore[reportPrivateUsage]
    shape = (1, 4, 64 // factor, 64 // factor)
    np.save(tmp_path / "latents.npy", Generator(5).randn(shape))
    pictures: list[np.ndarray] = []
    for name, latents in (("seed", None), ("latents", str(tmp_path / "latents.npy"))):
        picture = tmp_path / f"{name}.npy"
        tiny.draw(replace(ASK, picture=str(picture), latents=latents))
        pictures.append(np.load(picture))
    assert pictures[0].shape == (1, 64, 64, 3)
    assert pictures[0].std() > 0.01
    np.testing.assert_allclose(pictures[0], pictures[1], rtol=0, atol=1e-4)
    assert torch.get_num_threads() == 1


def test_other_samplers_are_refused(tiny: Pipelines) -> None:
    with pytest.raises(ValueError, match="sampler 'euler': the peers are measured with ddim"):
        tiny.draw(replace(ASK, sampler="euler"))
