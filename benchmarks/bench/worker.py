"""`python -m benchmarks.bench.worker BUNDLE …`: the process in which a bundle is measured.

It imports nothing before it is asked to open the bundle, so that loading counts all it takes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench.protocol import Ask, Drawn, Opened, serve, uncollected

if TYPE_CHECKING:
    from runtimes.pipeline import Pipeline
    from runtimes.result import Result


class BundleSubject:
    """A compiled bundle in latedge's own runtime.

    Args:
        path: the bundle.
        device: as the engine names it.
        threads: within an operation; None leaves it to the engine.
    """

    def __init__(self, path: Path, device: str, threads: int | None) -> None:
        self._path, self._device, self._threads = path, device, threads
        self._pipeline: Pipeline | None = None

    def open(self) -> Opened:
        """Opens the bundle as `latedge generate` does."""
        from runtimes.pipeline import Pipeline

        pipeline = Pipeline.open(self._path, device=self._device, threads=self._threads)
        self._pipeline = pipeline
        return Opened(
            engine=pipeline.origin.engine,
            device=pipeline.origin.device,
            precision=pipeline.bundle.graph("unet").precision,
            threads=self._threads,
        )

    def draw(self, ask: Ask) -> Drawn:
        """Draws with the runtime, whose own stopwatch tells the stages."""
        import numpy as np

        assert self._pipeline is not None, "opened first"
        with uncollected():
            result = self._pipeline(
                ask.prompt,
                ask.negative_prompt,
                num_inference_steps=ask.num_inference_steps,
                guidance_scale=ask.guidance_scale,
                sampler=ask.sampler,
                seed=ask.seed,
                height=ask.height,
                width=ask.width,
                num_images_per_prompt=ask.count,
                latents=None if ask.latents is None else np.load(ask.latents),
                output_type="np",
            )
        if ask.picture is not None:
            np.save(ask.picture, np.asarray(result.images))
        return Drawn(_stages(result))


def _stages(result: Result) -> dict[str, list[float]]:
    timings = result.timings
    return {
        "text_encoder": [timings.text_encoder],
        "unet_call": list(timings.unet),
        "sampler": [timings.sampler],
        "vae_decoder": [timings.vae_decoder],
        "picture": [timings.total],
    }


def describe(error: BaseException) -> str:
    """An error in one line; those that aren't latedge's own with their type."""
    from runtimes.errors import LatedgeError

    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, LatedgeError) else f"{type(error).__name__}: {text}"


def main() -> None:
    """Reads what to open from the command line and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(sys.argv[1:])
    serve(BundleSubject(given.bundle, given.device, given.threads), describe=describe)


if __name__ == "__main__":
    main()
