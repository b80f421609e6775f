"""Measures OpenVINO GenAI, by the times that it tells itself.

`python -m benchmarks.peers.workers.genai FOLDER --threads N`, in its environment.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve, uncollected
from benchmarks.interop.draw_genai import noise
from benchmarks.peers.workers.arguments import engine_of, parse, versions

SAMPLER = "ddim"


class GenAI:
    """A text-to-image pipeline of OpenVINO GenAI.

    Args:
        folder: the model.
        threads: within an operation.
        precision: of the weights as stored.
    """

    def __init__(self, folder: str, threads: int, precision: str) -> None:
        self._folder, self._threads, self._precision = folder, threads, precision
        self._pipeline: Any = None
        self._genai: Any = None

    def open(self) -> Opened:
        """Opens and compiles it, for float32 and DDIM."""
        genai: Any = import_module("openvino_genai")
        pipeline = genai.Text2ImagePipeline(self._folder)
        config = f"{self._folder}/scheduler/scheduler_config.json"
        ddim = genai.Scheduler.Type.DDIM
        pipeline.set_scheduler(genai.Scheduler.from_config(config, ddim))
        # A CPU that has bf16 takes it unasked.
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self._threads}
        pipeline.compile("CPU", **options)
        self._genai, self._pipeline = genai, pipeline
        packages = versions("openvino-genai", "openvino", "openvino-tokenizers")
        return Opened(
            engine=engine_of(packages),
            device="CPU",
            precision=self._precision,
            threads=self._threads,
            packages=packages,
        )

    def draw(self, ask: Ask) -> Drawn:
        """Draws; GenAI gives pictures in 8 bits."""
        import numpy as np

        if ask.sampler != SAMPLER:
            raise ValueError(f"sampler {ask.sampler!r}: the peers are measured with {SAMPLER}")
        latents = None if ask.latents is None else np.load(ask.latents)
        with uncollected():
            start = time.perf_counter()
            found = self._pipeline.generate(
                ask.prompt,
                negative_prompt=ask.negative_prompt,
                num_inference_steps=ask.num_inference_steps,
                guidance_scale=ask.guidance_scale,
                height=ask.height,
                width=ask.width,
                num_images_per_prompt=ask.count,
                generator=noise(self._genai, latents, ask.seed),
            )
            picture_ms = (time.perf_counter() - start) * 1000
        if ask.picture is not None:
            np.save(ask.picture, np.array(found.data).astype(np.float32) / np.float32(255))
        return Drawn({**stages(self._pipeline.get_performance_metrics()), "picture": [picture_ms]})


def stages(metrics: Any) -> dict[str, list[float]]:
    """Milliseconds by stage of the last picture, as GenAI tells them; U-Net calls in µs there."""
    return {
        "text_encoder": [float(sum(metrics.get_text_encoder_infer_duration().values()))],
        "unet_call": [float(us) / 1000 for us in metrics.raw_metrics.unet_inference_durations],
        "vae_decoder": [float(metrics.get_vae_decoder_infer_duration())],
    }


def main() -> None:
    """Reads what to open from the command line and serves."""
    given = parse()
    serve(GenAI(given.model, given.threads, given.precision))


if __name__ == "__main__":
    main()
