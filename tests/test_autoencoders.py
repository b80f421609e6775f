"""Pictures by other autoencoders than `AutoencoderKL`, the whole way, against diffusers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderTiny,  # pyright: ignore[reportPrivateImportUsage]
    StableDiffusionPipeline,
    VQModel,  # pyright: ignore[reportPrivateImportUsage]
)
from numpy.typing import NDArray

from exporter.compile import compile
from exporter.export import export
from exporter.source import SourceOptions
from runtimes.bundle import open_bundle
from runtimes.parts import Parts
from runtimes.pipeline import Pipeline
from tests.test_end_to_end import psnr_db

Once = Callable[[str, Callable[[Path], object]], Path]
Floats = NDArray[np.float32]

HALVES = ("vae_decoder", "vae_encoder")
OPTIONS: dict[str, Any] = {
    "prompt": "a red circle",
    "num_inference_steps": 4,
    "guidance_scale": 5.0,
    "height": 64,
    "width": 48,
}


class Dequantised(VQModel):
    """`VQModel` for StableDiffusionPipeline, whose call of it has an argument that it lacks."""

    def decode(self, h: torch.Tensor, *args: Any, generator: Any = None, **kwargs: Any) -> Any:
        del generator
        return super().decode(h, *args, **kwargs)


@pytest.fixture(scope="module")
def taesd_bundle(once: Once, tiny_sd15: Path, tiny_taesd: Path) -> Path:
    options = SourceOptions(vae=tiny_taesd)
    portable = once(
        "taesd-portable", lambda f: export(tiny_sd15, f, source_options=options, verify="image")
    )
    return once("taesd-ort", lambda f: compile(portable, f, target="onnxruntime"))


@pytest.fixture(scope="module")
def vq_bundle(once: Once, tiny_sd15_vq: Path) -> Path:
    portable = once("vq-portable", lambda f: export(tiny_sd15_vq, f, verify="image"))
    return once("vq-ort", lambda f: compile(portable, f, target="onnxruntime"))


def reference(model: Path, vae: Any) -> tuple[Floats, Floats]:
    """diffusers' pictures and latents."""
    pipe: Any = StableDiffusionPipeline.from_pretrained(model, vae=vae, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    kept: list[Floats] = []

    def keep(_pipe: Any, _step: int, _timestep: int, given: dict[str, torch.Tensor]) -> Any:
        kept.append(given["latents"].numpy().copy())
        return given

    generator = torch.Generator().manual_seed(3)
    made = pipe(generator=generator, output_type="np", callback_on_step_end=keep, **OPTIONS)
    return made.images, np.stack(kept)


def drawn(bundle: Path) -> tuple[Floats, Floats]:
    kept: list[Floats] = []
    with Pipeline.open(bundle) as pipe:
        result = pipe(
            seed=3, output_type="np", callback=lambda step: kept.append(step.latents), **OPTIONS
        )
    return np.asarray(result.images), np.stack(kept)


def test_picture_of_a_tiny_autoencoder_equals_diffusers(
    tiny_sd15: Path, tiny_taesd: Path, taesd_bundle: Path
) -> None:
    vae = AutoencoderTiny.from_pretrained(tiny_taesd)
    expected, trajectory = reference(tiny_sd15, vae)
    found, latents = drawn(taesd_bundle)
    assert expected.std() > 0.01, "the reference shows nothing"
    np.testing.assert_allclose(latents, trajectory, atol=2e-5 * np.abs(trajectory).max(), rtol=0)
    assert psnr_db(expected, found) >= 90


def test_manifest_tells_the_scale_and_what_the_encoder_gives(taesd_bundle: Path) -> None:
    bundle = open_bundle(taesd_bundle)
    space = bundle.manifest.latents
    assert (space.channels, space.scaling_factor, space.vae_factor) == (4, 1.0, 8)
    (port,) = bundle.graph("vae_encoder").outputs
    assert (port.role, port.shape[:2]) == ("latents", ("batch", 4))
    recipe = bundle.manifest.components["vae_decoder"].recipe
    assert recipe is not None
    assert recipe.class_name == "AutoencoderTiny"
    index = json.loads((taesd_bundle / "model_index.json").read_text())
    assert index["vae"] == ["diffusers", "AutoencoderTiny"]


def encoded(bundle: Path, pixels: Floats) -> Floats:
    with (
        Pipeline.open(bundle) as pipe,
        Parts.open(pipe.bundle, HALVES, device="cpu", threads=1).use("vae_encoder") as encoder,
    ):
        return encoder(sample=pixels)


def test_tiny_encoder_gives_latents(tiny_taesd: Path, taesd_bundle: Path) -> None:
    pixels = torch.tanh(torch.randn((2, 3, 40, 72), generator=torch.Generator().manual_seed(0)))
    vae: Any = AutoencoderTiny.from_pretrained(tiny_taesd)
    with torch.no_grad():
        expected = vae.encode(pixels).latents.numpy()
    found = encoded(taesd_bundle, pixels.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    assert np.abs(expected).max() > 1e-3


@pytest.mark.slow
def test_picture_of_a_vq_autoencoder_equals_diffusers(tiny_sd15_vq: Path, vq_bundle: Path) -> None:
    vae = Dequantised.from_pretrained(tiny_sd15_vq / "vae")
    expected, trajectory = reference(tiny_sd15_vq, vae)
    found, latents = drawn(vq_bundle)
    assert expected.std() > 0.01, "the reference shows nothing"
    np.testing.assert_allclose(latents, trajectory, atol=2e-5 * np.abs(trajectory).max(), rtol=0)
    assert psnr_db(expected, found) >= 90


@pytest.mark.slow
def test_vq_decoder_takes_the_nearest_vectors(tiny_sd15_vq: Path, vq_bundle: Path) -> None:
    codebook = VQModel.from_pretrained(tiny_sd15_vq / "vae").quantize.embedding.weight
    vectors = codebook.detach().numpy()[:35].T.reshape(1, 4, 5, 7).copy()
    bundle = open_bundle(vq_bundle)
    with Parts.open(bundle, HALVES, device="cpu", threads=1).use("vae_decoder") as decoder:
        exact, near, other = (
            decoder(latent_sample=latents) for latents in (vectors, vectors + 0.01, -vectors)
        )
    np.testing.assert_allclose(near, exact, atol=1e-6, rtol=0)
    assert np.abs(other - exact).max() > 0.01
