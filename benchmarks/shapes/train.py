"""`python -m benchmarks.shapes.train`: trains the shapes model, stage by stage.

First `vae`, then `diffusion`, then `export FOLDER`. A GPU is used where there is one. On a CPU two
processes of one thread each do nearly twice the work of one with two threads:

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m benchmarks.shapes.train vae
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.shapes.export import write_model
from benchmarks.shapes.train_diffusion import train_diffusion, trained_diffusion
from benchmarks.shapes.train_vae import train_decoder, train_vae, trained_vae
from benchmarks.shapes.training import TrainConfig

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Trains the shapes model.")

Run = Annotated[Path, typer.Option(help="Folder of checkpoints and caches.")]
Minutes = Annotated[
    float, typer.Option(min=0.0, help="Active time of this stage, all resumed runs together.")
]
Batch = Annotated[int, typer.Option(min=1, help="Pictures a step and process.")]
Rate = Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the folder's checkpoint.")]
RUN = Path("build/shapes")


@app.command()
def vae(
    run: Run = RUN,
    minutes: Minutes = 30.0,
    batch: Batch = 6,
    rate: Rate = 1e-3,
    resume: Resume = False,
) -> None:
    """Stage one: trains the autoencoder."""
    train_vae(_config(run, minutes, batch, rate, resume))


@app.command()
def decoder(
    run: Run = RUN,
    minutes: Minutes = 10.0,
    batch: Batch = 8,
    rate: Rate = 5e-4,
    resume: Resume = False,
) -> None:
    """Trains the decoder further; the latents stay as they are, so any time after `vae` will do."""
    train_decoder(_config(run, minutes, batch, rate, resume))


@app.command()
def diffusion(
    run: Run = RUN,
    minutes: Minutes = 75.0,
    batch: Batch = 32,
    rate: Rate = 1e-3,
    resume: Resume = False,
) -> None:
    """Stage two: trains the denoiser and the text encoder on the autoencoder's latents."""
    train_diffusion(_config(run, minutes, batch, rate, resume))


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Where the Diffusers folder is written.")],
    run: Run = RUN,
) -> None:
    """Writes what was trained so far as a Diffusers folder with fp16 weights."""
    config = _config(run, 0.0, 1, 0.0, True)
    autoencoder = trained_vae(config)
    write_model(folder, autoencoder, *trained_diffusion(config))
    print(folder)


def _config(run: Path, minutes: float, batch: int, rate: float, resume: bool) -> TrainConfig:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return TrainConfig(run, minutes, batch, rate, resume=resume, device=device)


def main() -> None:
    """Runs the command; a missing checkpoint ends in one line."""
    try:
        app()
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
