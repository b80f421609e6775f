"""Draws one picture with every program that may open a folder, and compares them all."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bench.quality import psnr_db
from benchmarks.environments.environment import REPOSITORY, Environment
from benchmarks.interop.folders import Folder
from benchmarks.interop.job import Drawing, Job
from exporter.progress import Progress
from runtimes.errors import LatedgeError
from runtimes.pictures import to_pillow
from runtimes.pipeline import Pipeline

Picture = NDArray[np.float32]

PEERS: Mapping[str, tuple[str, str]] = {
    "diffusers": ("optimum-onnx", "draw_diffusers"),
    "optimum-onnx": ("optimum-onnx", "draw_diffusers"),
    "optimum-intel": ("optimum-intel", "draw_diffusers"),
    "openvino-genai": ("openvino-genai", "draw_genai"),
}
"""Program → its environment and the script that draws with it."""

OPENED: tuple[tuple[str, str], ...] = (
    ("diffusers", "source"),
    ("latedge", "onnxruntime fp32"),
    ("latedge", "openvino fp32"),
    ("latedge", "genai fp32"),
    ("optimum-onnx", "onnxruntime fp32"),
    ("optimum-intel", "openvino fp32"),
    ("optimum-intel", "genai fp32"),
    ("openvino-genai", "genai fp32"),
    ("openvino-genai", "genai fp32 fixed"),
    ("latedge", "onnx fp32"),
    ("latedge", "ir fp32"),
    ("latedge", "ir fp32 fixed"),
    ("optimum-onnx", "onnx fp32"),
    ("optimum-intel", "ir fp32"),
    ("openvino-genai", "ir fp32"),
    ("latedge", "onnxruntime fp16"),
    ("optimum-onnx", "onnxruntime fp16"),
    ("latedge", "openvino fp16"),
    ("optimum-intel", "openvino fp16"),
    ("openvino-genai", "genai fp16"),
    ("latedge", "ir fp16"),
    ("latedge", "ir int8"),
    ("optimum-intel", "ir int8"),
)
"""Program and folder: each draws the picture. The first is the reference: torch, on the source."""


@dataclass(frozen=True)
class Drawn:
    """A picture and where it comes from.

    Attributes:
        program: what drew it.
        folder: from what.
        picture: float32 [H, W, 3] in [0, 1].
    """

    program: str
    folder: Folder
    picture: Picture


def draw_all(
    drawing: Drawing,
    folders: Mapping[str, Folder],
    peers: Mapping[str, Environment],
    base: Path,
    progress: Progress,
) -> list[Drawn]:
    """Draws with every program of `OPENED`, from the same latents.

    Raises:
        LatedgeError: a program failed.
    """
    # torch's own stream, as runtimes.noise has it: drawn once, given to all.
    from runtimes.noise import Generator

    shape = (1, 4, drawing.height // 8, drawing.width // 8)
    latents = Generator(drawing.seed).randn(shape)
    np.save(base / "latents.npy", latents)
    drawn: list[Drawn] = []
    for program, name in OPENED:
        folder = folders[name]
        picture = (
            draw_here(drawing, folder.path, latents)
            if program == "latedge"
            else draw_there(drawing, program, folder, peers, base)
        )
        stem = f"{program} {folder.made_by} {name}".replace(" ", "-")
        to_pillow(picture[np.newaxis])[0].save(base / f"{stem}.png")
        progress(f"{program} drew {folder.made_by}'s {name}")
        drawn.append(Drawn(program, folder, picture))
    return drawn


def draw_here(drawing: Drawing, folder: Path, latents: Picture) -> Picture:
    """Draws with latedge's own runtime."""
    with Pipeline.open(folder) as pipeline:
        images = pipeline(
            drawing.prompt,
            drawing.negative_prompt,
            num_inference_steps=drawing.num_inference_steps,
            guidance_scale=drawing.guidance_scale,
            height=drawing.height,
            width=drawing.width,
            sampler="ddim",
            latents=latents,
            output_type="np",
        ).images
    assert isinstance(images, np.ndarray)
    return images[0]


def draw_there(
    drawing: Drawing,
    program: str,
    folder: Folder,
    peers: Mapping[str, Environment],
    base: Path,
) -> Picture:
    """Draws with a peer, in its environment."""
    environment, script = PEERS[program]
    picture, path = base / "picture.npy", base / "job.json"
    job = Job(
        folder=str(folder.path),
        library=program,
        latents=str(base / "latents.npy"),
        picture=str(picture),
        drawing=drawing,
    )
    job.write(path)
    peers[environment].run(["-m", f"benchmarks.interop.{script}", str(path)])
    found: Picture = np.load(picture)
    picture.unlink()
    return found


def check_commands(folder: Path, output: Path, drawing: Drawing) -> None:
    """Runs `latedge inspect` and `latedge generate` on a folder.

    Raises:
        LatedgeError: one of them failed.
    """
    size = ["--height", str(drawing.height), "--width", str(drawing.width)]
    generate = ["generate", str(folder), drawing.prompt, "-o", str(output), "--steps", "2", *size]
    for arguments in (["inspect", str(folder), "--json"], [*generate, "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "latedge", *arguments],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LatedgeError(f"latedge {arguments[0]} failed on {folder}: {done.stderr.strip()}")
        json.loads(done.stdout)


def lowest_db(drawn: list[Drawn]) -> float | None:
    """The PSNR of the two pictures that differ most; None where all are equal."""
    pairs = itertools.combinations(drawn, 2)
    found = [psnr_db(a.picture, b.picture) for a, b in pairs]
    return min((value for value in found if value is not None), default=None)
