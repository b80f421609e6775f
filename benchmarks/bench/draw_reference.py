"""Draws the reference pictures: `python -m benchmarks.bench.draw_reference JOB`.

A line on stdout for each picture; where it fails, the last line on stderr says why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.bench.reference import Floats, Job
from benchmarks.shapes.painters import DIFFUSERS_SAMPLERS
from runtimes.errors import LatedgeError
from runtimes.noise import Generator
from runtimes.pipeline import Pipeline

Paint = Callable[[str, int], Floats]


def draw(job: Job) -> None:
    """Draws all pictures of a job and stores them.

    Raises:
        LatedgeError: a bundle can't be opened or its engine failed.
    """
    paint = torch_painter(job) if job.by_torch else bundle_painter(job)
    pictures: list[Floats] = []
    for number, (prompt, seed) in enumerate(job.asks, 1):
        pictures.append(paint(prompt, seed))
        print(f"reference picture {number} of {len(job.asks)}", flush=True)
    np.save(job.pictures, np.stack(pictures).astype(np.float32))


def torch_painter(job: Job) -> Paint:
    """Paints with diffusers and torch in float32 on the CPU, from the runtime's own noise."""
    import diffusers
    import torch

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    settings = job.settings
    fp16_alone = not list((Path(job.folder) / "unet").glob("diffusion_pytorch_model.safetensors*"))
    pipe: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        job.folder,
        dtype=torch.float32,
        variant="fp16" if fp16_alone else None,
        use_safetensors=True,
        local_files_only=True,
        # They judge pictures and change those that they dislike.
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    name, options = DIFFUSERS_SAMPLERS[settings.sampler]
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **options)
    pipe.set_progress_bar_config(disable=True)
    factor = pipe.vae_scale_factor
    shape = (1, pipe.unet.config.in_channels, settings.height // factor, settings.width // factor)

    def paint(prompt: str, seed: int) -> Floats:
        # Samplers that draw noise go on in the stream that the latents came from.
        generator = torch.Generator().manual_seed(seed)
        torch.randn(shape, generator=generator)
        images: Any = pipe(
            prompt,
            negative_prompt=settings.negative_prompt,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            height=settings.height,
            width=settings.width,
            latents=torch.from_numpy(Generator(seed).randn(shape)),
            generator=generator,
            output_type="np",
        ).images
        return images[0]

    return paint


def bundle_painter(job: Job) -> Paint:
    """Paints with a compiled bundle."""
    settings = job.settings
    pipe = Pipeline.open(job.folder, device=job.device, threads=job.threads)

    def paint(prompt: str, seed: int) -> Floats:
        images: Any = pipe(
            prompt,
            settings.negative_prompt,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            seed=seed,
            sampler=settings.sampler,
            height=settings.height,
            width=settings.width,
            output_type="np",
        ).images
        return images[0]

    return paint


def main(arguments: Sequence[str]) -> int:
    """Runs a job; gives 0, or 1 where it can't be done."""
    (name,) = arguments
    try:
        draw(msgspec.json.decode(Path(name).read_bytes(), type=Job))
    except LatedgeError as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
