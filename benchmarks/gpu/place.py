"""Where the checks on a GPU work: commands that they run, bundles and pictures that they make."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import LatedgeError

REPOSITORY = Path(__file__).resolve().parents[2]
PROMPT = "a large red circle in the top left on a white background"


class CommandError(LatedgeError):
    """A command that a check needs failed."""


@dataclass(frozen=True)
class Drawing:
    """A picture that `latedge generate` made.

    Attributes:
        picture: [height, width, 3], in [0, 1], from 8 bits.
        device: that the pipeline says it ran on.
        unet_ms: median of the U-Net's calls.
    """

    picture: NDArray[np.float32]
    device: str
    unet_ms: float


@dataclass(frozen=True)
class Place:
    """What the checks share.

    Attributes:
        work: folder for all that they make.
        device: that is checked, as the engine names it.
        source: the Diffusers folder that is drawn with.
        steps: sampler steps of a picture.
        guidance_scale: of a picture.
        sessions: of `latedge bench`.
        rounds: of `latedge bench`.
        train_minutes: of the training.
    """

    work: Path
    device: str
    source: Path
    steps: int
    guidance_scale: float
    sessions: int
    rounds: int
    train_minutes: float

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.device.partition(":")[0]

    def latedge(self, *arguments: object) -> str:
        """Runs a `latedge` command; gives what it wrote to stdout.

        Raises:
            CommandError: it failed; gives its last line.
        """
        return self.python("-m", "latedge", *arguments)

    def python(self, *arguments: object) -> str:
        """Runs this Python; gives what it wrote to stdout. Stderr goes to `log.txt`.

        Raises:
            CommandError: it failed; gives its last line.
        """
        words = list(map(str, arguments))
        paths = filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")])
        done = subprocess.run(
            [sys.executable, *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True,
            text=True,
            check=False,
        )
        with (self.work / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"$ python {' '.join(words)}\n{done.stderr}\n")
        if done.returncode:
            raise CommandError(f"python {' '.join(words)}: {_last_line(done)}")
        return done.stdout

    def bundle(self, target: str, precision: str) -> Path:
        """The source compiled for an engine, made once."""
        return _compiled(self, target, precision)

    def draw(self, bundle: Path, device: str, name: str = "drawn") -> Drawing:
        """Draws the picture of the checks, once for each name.

        Args:
            bundle: compiled.
            device: as the engine names it.
            name: another one draws anew, so that on a CPU two runs are compared and not one.
        """
        return _drawn(self, bundle, device, name)


@functools.cache
def _portable(place: Place) -> Path:
    folder = place.work / "portable.bundle"
    place.latedge("export", place.source, "-o", folder, "--force")
    return folder


@functools.cache
def _compiled(place: Place, target: str, precision: str) -> Path:
    folder = place.work / f"{target}-{precision}.bundle"
    chosen = ("--target", target, "--precision", precision, "--force")
    place.latedge("compile", _portable(place), *chosen, "-o", folder)
    return folder


@functools.cache
def _drawn(place: Place, bundle: Path, device: str, name: str) -> Drawing:
    from PIL import Image

    path = place.work / f"{bundle.stem}-{device.replace(':', '')}-{name}.png"
    settings = ("--steps", place.steps, "--guidance-scale", place.guidance_scale, "--seed", 0)
    told = place.latedge(
        "generate", bundle, PROMPT, *settings, "--device", device, "--json", "-o", path
    )
    record: Mapping[str, Any] = json.loads(told)
    picture = np.asarray(Image.open(path).convert("RGB"), np.float32) / np.float32(255)
    calls: Sequence[float] = record["timings_ms"]["unet"]
    return Drawing(picture, record["origin"]["device"], float(np.median(calls)))


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {done.returncode}"
