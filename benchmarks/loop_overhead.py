"""`python -m benchmarks.loop_overhead BUNDLE`: what the NumPy loop adds to the U-Net's own time."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Annotated

import typer

from runtimes.pipeline import Pipeline
from runtimes.samplers import fitting_samplers


def main(
    bundle: Annotated[Path, typer.Argument(help="Compiled bundle.", show_default=False)],
    steps: Annotated[int, typer.Option(help="Steps of each sampler.")] = 4,
    guidance_scale: Annotated[float, typer.Option(help="Above 1, both halves are run.")] = 7.5,
) -> None:
    """Runs every sampler that the bundle takes and prints the loop's share of a step.

    The loop is all between two calls of the U-Net: input scaling, guidance, the sampler's own
    arithmetic, noise. Latents are not decoded.
    """
    with Pipeline.open(bundle) as pipe:
        pipe("", num_inference_steps=1, output_type="latent", guidance_scale=guidance_scale)
        print("sampler    U-Net call, ms (min, median)   loop per call, ms   share")
        for name in fitting_samplers(pipe.bundle.scheduler_config):
            timings = pipe(
                "",
                num_inference_steps=steps,
                output_type="latent",
                sampler=name,
                guidance_scale=guidance_scale,
                seed=0,
            ).timings
            calls = timings.unet
            loop = timings.sampler / len(calls)
            fastest, median = min(calls), statistics.median(calls)
            print(f"{name:10} {fastest:12.1f} {median:12.1f} {loop:18.3f} {loop / fastest:13.3%}")


if __name__ == "__main__":
    typer.run(main)
