"""Whatever makes a picture from a prompt: a Diffusers folder through torch, or a latedge bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.shapes.generator import Picture
from runtimes.errors import UsageError, unknown_name

Painter = Callable[[Sequence[str], Sequence[int]], Iterator[Picture]]
"""From prompts and their seeds to pictures, uint8 (64, 64, 3), in the same order."""

# latedge's sampler name -> diffusers' scheduler and what it is told beyond the model's schedule.
DIFFUSERS_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ddim": ("DDIMScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "pndm": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
}


@dataclass(frozen=True)
class PaintConfig:
    """How pictures are made.

    Attributes:
        steps: Sampler steps.
        guidance_scale: Classifier-free guidance; 1 turns it off.
        sampler: latedge's name of the sampler.
        batch: Pictures made at once, where torch makes them.
    """

    steps: int = 20
    guidance_scale: float = 2.0
    sampler: str = "dpmpp-2m"
    batch: int = 50


def painter(path: Path, config: PaintConfig) -> Painter:
    """Opens a model, whatever kind of folder it is.

    Args:
        path: A Diffusers folder, run by torch, or a compiled latedge bundle.
        config: How pictures are made.

    Raises:
        UsageError: The folder is neither; or the sampler is not known.
        LatedgeError: The bundle can't be opened.
    """
    if (path / "unet" / "diffusion_pytorch_model.safetensors").is_file():
        return diffusers_painter(path, config)
    if path.is_dir():
        return bundle_painter(path, config)
    raise UsageError(f"no folder at {path}; give a Diffusers folder or a compiled bundle.")


def bundle_painter(path: Path, config: PaintConfig) -> Painter:
    """Paints with a compiled bundle, one picture at a time."""
    import latedge

    pipe = latedge.Pipeline.open(path)

    def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Picture]:
        for prompt, seed in zip(prompts, seeds, strict=True):
            result = pipe(
                prompt,
                num_inference_steps=config.steps,
                guidance_scale=config.guidance_scale,
                seed=seed,
                sampler=config.sampler,
            )
            yield np.asarray(result.images[0].convert("RGB"))

    return paint


def diffusers_painter(path: Path, config: PaintConfig) -> Painter:
    """Paints with diffusers and torch in float32, in batches; each picture has noise of its own."""
    if config.sampler not in DIFFUSERS_SAMPLERS:
        raise unknown_name("sampler with diffusers", config.sampler, DIFFUSERS_SAMPLERS)
    import diffusers
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(path, dtype=torch.float32)
    name, options = DIFFUSERS_SAMPLERS[config.sampler]
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **options)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)

    def paint(prompts: Sequence[str], seeds: Sequence[int]) -> Iterator[Picture]:
        for first in range(0, len(prompts), config.batch):
            part = slice(first, first + config.batch)
            made = pipe(
                list(prompts[part]),
                num_inference_steps=config.steps,
                guidance_scale=config.guidance_scale,
                # On the CPU whatever the device, so that the noise is the same everywhere.
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
                output_type="np",
            ).images
            yield from np.rint(made * 255).astype(np.uint8)

    return paint
