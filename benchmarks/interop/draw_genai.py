"""Draws with OpenVINO GenAI: `python -m benchmarks.interop.draw_genai JOB`, in its environment."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.interop.job import Job


def noise(genai: Any, latents: NDArray[np.float32] | None, seed: int = 0) -> Any:
    """A generator of GenAI that gives the noise to start from; DDIM asks for nothing else.

    Args:
        genai: the module.
        latents: the noise; None draws it as torch's generator on the CPU does.
        seed: of that generator.
    """
    from runtimes.noise import Generator

    tensor = import_module("openvino").Tensor

    class Given(genai.Generator):
        def next(self) -> float:
            raise RuntimeError("GenAI asks for single random numbers")

        def randn_tensor(self, shape: Any) -> Any:
            found = Generator(seed).randn(list(shape)) if latents is None else latents
            if list(shape) != list(found.shape):
                raise RuntimeError(f"GenAI asks for noise of shape {list(shape)}")
            return tensor(found)

    return Given()


def draw(job: Job) -> None:
    """Draws and stores one picture; GenAI gives it in 8 bits."""
    genai: Any = import_module("openvino_genai")
    drawing = job.drawing
    pipeline = genai.Text2ImagePipeline(job.folder)
    ddim = genai.Scheduler.Type.DDIM
    config = f"{job.folder}/scheduler/scheduler_config.json"
    pipeline.set_scheduler(genai.Scheduler.from_config(config, ddim))
    # A CPU that has bf16 takes it unasked.
    pipeline.compile("CPU", INFERENCE_PRECISION_HINT="f32")
    found = pipeline.generate(
        drawing.prompt,
        negative_prompt=drawing.negative_prompt,
        num_inference_steps=drawing.num_inference_steps,
        guidance_scale=drawing.guidance_scale,
        height=drawing.height,
        width=drawing.width,
        generator=noise(genai, job.read_latents()),
    )
    job.save(np.array(found.data)[0].astype(np.float32) / np.float32(255))


if __name__ == "__main__":
    draw(Job.read(sys.argv[1:]))
