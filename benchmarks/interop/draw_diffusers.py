"""Draws with diffusers and what is built on it: torch itself, Optimum, Optimum-Intel.

`python -m benchmarks.interop.draw_diffusers JOB`, in the environment of the library.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from benchmarks.interop.job import Job

PIPELINES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "diffusers": ("diffusers", "StableDiffusionPipeline", {}),
    "optimum-onnx": ("optimum.onnxruntime", "ORTStableDiffusionPipeline", {"export": False}),
    "optimum-intel": (
        "optimum.intel",
        "OVStableDiffusionPipeline",
        # A CPU that has bf16 takes it unasked.
        {"export": False, "ov_config": {"INFERENCE_PRECISION_HINT": "f32"}},
    ),
}
"""Library → module, class, options of its `from_pretrained`."""


def open_pipeline(library: str, folder: str, more: Mapping[str, Any] | None = None) -> Any:
    """Opens a folder, with DDIM under the folder's own schedule.

    Args:
        library: a key of `PIPELINES`.
        folder: the model.
        more: options of `from_pretrained` that come before those of the table.
    """
    module, name, options = PIPELINES[library]
    taken = {**options, **(more or {})}
    pipeline = getattr(import_module(module), name).from_pretrained(folder, **taken)
    scheduler = import_module("diffusers").DDIMScheduler
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(job: Job) -> None:
    """Draws and stores one picture."""
    import torch

    drawing = job.drawing
    found = open_pipeline(job.library, job.folder)(
        prompt=drawing.prompt,
        negative_prompt=drawing.negative_prompt,
        num_inference_steps=drawing.num_inference_steps,
        guidance_scale=drawing.guidance_scale,
        height=drawing.height,
        width=drawing.width,
        latents=torch.from_numpy(job.read_latents()),
        output_type="np",
    )
    job.save(found.images[0])


if __name__ == "__main__":
    draw(Job.read(sys.argv[1:]))
