"""What tests of whole pictures share: pictures to begin with, and diffusers beside ours."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from runtimes.pipeline import Pipeline
from runtimes.result import Result

Floats = NDArray[Any]

PSNR_DB = 80.0
"""45 dB is promised. Float32 on both sides, so the order of sums alone differs: 100 and more are
reached in latents."""

_NOTHING: Mapping[str, Any] = {}


def photo(width: int = 67, height: int = 70, seed: int = 0) -> Image.Image:
    """Smooth colours with an edge: something to see, of a size that is no multiple of 8."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    channels = [np.sin((3 + k + seed) * x + 2 * k * y) * 0.4 + 0.5 for k in range(3)]
    picture = np.stack(channels, axis=-1)
    picture[height // 3 : height // 2, width // 4 :] *= 0.3
    return Image.fromarray(np.round(picture * 255).astype(np.uint8))


def box(width: int = 67, height: int = 70) -> Image.Image:
    """A mask with a white box left of the middle."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height * 3 // 4, width // 8 : width // 2] = 255
    return Image.fromarray(mask)


def psnr_db(a: Floats, b: Floats, peak: float) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if error == 0 else 20 * np.log10(peak) - 10 * np.log10(error)


def reference_of(pipeline: Any, folder: Path) -> Any:
    """diffusers' pipeline of a class over a folder, in float32."""
    marks = "add_watermarker" in inspect.signature(pipeline.__init__).parameters
    more = {"add_watermarker": False} if marks else {}
    pipe = pipeline.from_pretrained(folder, dtype=torch.float32, **more)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def follow(
    pipe: Pipeline,
    reference: Any,
    *,
    ours: Mapping[str, Any] = _NOTHING,
    theirs: Mapping[str, Any] = _NOTHING,
    seed: int = 5,
    least_db: float = PSNR_DB,
    **both: Any,
) -> Result:
    """Draws with both; asserts that latents agree at every call, and what is drawn.

    Args:
        pipe: ours.
        reference: diffusers'.
        ours: arguments of ours alone.
        theirs: of diffusers' alone.
        seed: of the noise.
        least_db: that latents and pictures must reach.
        both: arguments of both.

    Returns:
        Ours.
    """
    expected: list[Floats] = []
    found: list[Floats] = []

    def keep(pipe: Any, index: int, timestep: Any, given: dict[str, Any]) -> dict[str, Any]:
        expected.append(given["latents"].numpy().copy())
        return given

    def keep_latents(index: int, timestep: Any, latents: torch.Tensor) -> None:
        expected.append(latents.numpy().copy())

    takes = inspect.signature(reference.__call__).parameters
    told: dict[str, Any] = {"callback": keep_latents}
    if "callback_on_step_end" in takes:
        told = {"callback_on_step_end": keep}
    options: dict[str, Any] = {"output_type": "np", "num_inference_steps": 6, **both}
    drawn = reference(
        generator=torch.Generator().manual_seed(seed), **{**options, **told, **theirs}
    ).images
    result = pipe(
        **{**options, **ours},
        seed=seed,
        callback=lambda step: found.append(step.latents.copy()),
    )
    assert len(found) == len(expected) > 0
    for index, (a, b) in enumerate(zip(expected, found, strict=True)):
        reached = psnr_db(a, b, float(np.abs(a).max()))
        assert reached >= least_db, f"call {index}: {reached:.0f} dB"
    if options["output_type"] == "pil":
        _assert_bytes_agree(drawn, cast("list[Image.Image]", result.images))
        return result
    latent = options["output_type"] == "latent"
    shown = np.asarray(drawn)
    assert shown.std() > 0.02, "the reference shows nothing"
    images = np.asarray(result.latents if latent else result.images)
    assert shown.shape == images.shape
    reached = psnr_db(shown, images, float(np.abs(shown).max()) if latent else 1.0)
    assert reached >= least_db, f"{reached:.0f} dB"
    print(f"{reached:.0f} dB")
    return result


def _assert_bytes_agree(a: list[Image.Image], b: list[Image.Image]) -> None:
    """Up to values on the edge of rounding, which may fall to either side."""
    assert len(a) == len(b) > 0
    for one, other in zip(a, b, strict=True):
        difference = np.abs(np.asarray(one).astype(int) - np.asarray(other).astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
