"""Measures diffusers and what is built on it: torch itself, Optimum, Optimum-Intel.

`python -m benchmarks.peers.workers.diffusers_pipelines LIBRARY FOLDER --threads N [--compile]`, in
the environment of the library. The pipelines are the libraries' own; the networks' methods are
timed from outside.
"""

from __future__ import annotations

import time
from typing import Any

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve, uncollected
from benchmarks.interop.draw_diffusers import PIPELINES, open_pipeline
from benchmarks.peers.workers.arguments import engine_of, parse, versions
from benchmarks.peers.workers.stage_clock import StageClock

_BELOW = ("optimum", "diffusers", "transformers", "torch")
PACKAGES: dict[str, tuple[str, ...]] = {
    "diffusers": ("diffusers", "torch", "transformers"),
    "optimum-onnx": ("optimum-onnx", "onnxruntime", *_BELOW),
    "optimum-intel": ("optimum-intel", "openvino", *_BELOW),
}
"""Library → its packages; the first two name the engine."""

SAMPLER = "ddim"


def options(library: str, threads: int) -> dict[str, Any]:
    """What the library's `from_pretrained` is told: threads, and float32 unless it is the rule."""
    if library == "optimum-onnx":
        from importlib import import_module

        session: Any = import_module("onnxruntime").SessionOptions()
        session.intra_op_num_threads = threads
        return {"session_options": session}
    if library == "optimum-intel":
        precision = PIPELINES[library][2]["ov_config"]
        return {"ov_config": {**precision, "INFERENCE_NUM_THREADS": str(threads)}}
    import torch

    # A folder's weights may be fp16, which no operation on a CPU is quick in.
    return {"dtype": torch.float32}


class Pipelines:
    """A pipeline of diffusers' form.

    Args:
        library: a key of `PIPELINES`.
        folder: the model.
        threads: within an operation.
        precision: of the weights as stored.
        compiled: run the networks through `torch.compile`.
    """

    def __init__(
        self, library: str, folder: str, threads: int, precision: str, *, compiled: bool
    ) -> None:
        self._library, self._folder, self._threads = library, folder, threads
        self._precision, self._compiled = precision, compiled
        self._clock = StageClock()
        self._pipeline: Any = None

    def open(self) -> Opened:
        """Opens it and puts the clock around text encoder, U-Net and VAE decoder."""
        import torch

        torch.set_num_threads(self._threads)
        pipeline = open_pipeline(self._library, self._folder, options(self._library, self._threads))
        if self._compiled:
            for owner, method in _methods(pipeline).values():
                setattr(owner, method, torch.compile(getattr(owner, method)))
        for stage, (owner, method) in _methods(pipeline).items():
            self._clock.watch(owner, method, stage)
        self._pipeline = pipeline
        packages = versions(*PACKAGES[self._library])
        return Opened(
            engine=engine_of(packages) + (", compiled" if self._compiled else ""),
            device="cpu",
            precision=self._precision,
            threads=self._threads,
            packages=packages,
        )

    def draw(self, ask: Ask) -> Drawn:
        """Draws as a user of the library would."""
        import numpy as np
        import torch

        if ask.sampler != SAMPLER:
            raise ValueError(f"sampler {ask.sampler!r}: the peers are measured with {SAMPLER}")
        latents = None if ask.latents is None else torch.from_numpy(np.load(ask.latents))
        with uncollected():
            start = time.perf_counter()
            found = self._pipeline(
                prompt=ask.prompt,
                negative_prompt=ask.negative_prompt,
                num_inference_steps=ask.num_inference_steps,
                guidance_scale=ask.guidance_scale,
                height=ask.height,
                width=ask.width,
                num_images_per_prompt=ask.count,
                generator=torch.Generator().manual_seed(ask.seed),
                latents=latents,
                output_type="np",
            )
            self._clock.add("picture", (time.perf_counter() - start) * 1000)
        if ask.picture is not None:
            np.save(ask.picture, np.asarray(found.images, np.float32))
        return self._clock.take()


def _methods(pipeline: Any) -> dict[str, tuple[Any, str]]:
    """Stage → object and method that the pipeline calls for it."""
    return {
        "text_encoder": (pipeline.text_encoder, "forward"),
        "unet_call": (pipeline.unet, "forward"),
        "vae_decoder": (pipeline.vae, "decode"),
    }


def main() -> None:
    """Reads what to open from the command line and serves."""
    given = parse(library=tuple(PIPELINES))
    serve(
        Pipelines(
            given.library, given.model, given.threads, given.precision, compiled=given.compile
        )
    )


if __name__ == "__main__":
    main()
