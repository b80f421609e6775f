"""The peers' environments: their pins exclude latedge's and each other's, so each has its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.progress import Progress
from runtimes.errors import LatedgeError

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
ENVIRONMENTS = ("optimum-onnx", "optimum-intel", "openvino-genai")
"""Names of the environments; the packages of each, all of them, are in NAME.txt beside this."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: one of `ENVIRONMENTS`.
        folder: where it lies.
        log: file to which the output of its programs goes.
    """

    name: str
    folder: Path
    log: Path

    def run(self, arguments: Sequence[str]) -> str:
        """Runs a program of the environment, or a module with "-m"; gives what it printed.

        Raises:
            LatedgeError: it failed; gives its last line.
        """
        first, *others = arguments
        program = ["python", first] if first == "-m" else [first]
        command = [str(self.folder / "bin" / program[0]), *program[1:], *others]
        variables = {
            # Nothing is looked up on a hub, not even whether a local folder is there.
            **{"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"},
            "PYTHONPATH": str(REPOSITORY),
        }
        return _run(command, self.log, variables)

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """The versions of packages, which are pinned."""
        pins = pinned(self.name)
        return {name: pins[name] for name in packages}


def pinned(name: str) -> dict[str, str]:
    """Package → version of an environment."""
    lines = (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.partition("==") for line in lines if "==" in line and line[0] != "#")
    return {package: number for package, _, number in pins}


def prepare(name: str, base: Path, progress: Progress) -> Environment:
    """Makes an environment, or takes the one that was made from the same list of packages.

    Raises:
        LatedgeError: it can't be made; gives pip's last line.
    """
    folder = base / name
    environment = Environment(name, folder, base / f"{name}.log")
    listed = HERE / f"{name}.txt"
    stamp, wanted = folder / "made-from", hashlib.sha256(listed.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return environment
    progress(f"{name}: installing {len(pinned(name))} packages")
    base.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], environment.log, {})
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if "torch" in pinned(name):
        # Alone and by its exact name: a range may bring a build with several GB of CUDA packages.
        environment.run([*pip, f"torch=={pinned(name)['torch']}"])
    # The list is whole. Without --no-deps, Optimum-Intel brings a torchvision that is built for
    # another torch, and transformers can't be imported beside it.
    environment.run([*pip, "--no-deps", "--requirement", str(listed)])
    stamp.write_text(wanted, encoding="utf-8", newline="\n")
    return environment


def _run(command: Sequence[str], log: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode:
        lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        raise LatedgeError(f"{Path(command[0]).name} failed: {lines[-1]} (all of it: {log})")
    return done.stdout
