"""The environments: their pins exclude latedge's and each other's, so each has its own."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments.process import run_logged
from exporter.progress import Progress

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# Nothing is looked up on a hub, not even whether a local folder is there.
VARIABLES = {
    "HF_HUB_OFFLINE": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONPATH": str(REPOSITORY),
}
"""Of the programs' processes, beside the present ones."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment.

    Attributes:
        name: of the list of its packages.
        folder: where it lies.
        log: file to which the output of its programs goes.
    """

    name: str
    folder: Path
    log: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def run(
        self,
        arguments: Sequence[str],
        *,
        timeout_s: float | None = None,
        started: Callable[[int], None] | None = None,
    ) -> str:
        """Runs a program of the environment, or a module with "-m"; gives what it printed.

        Args:
            arguments: the program and its arguments.
            timeout_s: how long it may take; None for as long as it likes.
            started: told the process id once it runs.

        Raises:
            LatedgeError: it failed or took too long; gives its last line.
        """
        first, *others = arguments
        program = ["python", first] if first == "-m" else [first]
        command = [str(self.folder / "bin" / program[0]), *program[1:], *others]
        return run_logged(
            command, self.log, VARIABLES, folder=REPOSITORY, timeout_s=timeout_s, started=started
        )

    def versions(self, packages: Sequence[str]) -> dict[str, str]:
        """The versions of packages, which are pinned."""
        pins = pinned(self.name)
        return {name: pins[name] for name in packages}

    def size_bytes(self) -> int:
        """What its files take on disk, in bytes: the interpreter's own are not in it."""
        return folder_bytes(self.folder)


def folder_bytes(folder: Path) -> int:
    """What the files below a folder take on disk, in whole blocks; a linked file counts once."""
    blocks: dict[tuple[int, int], int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            found = (Path(parent) / name).lstat()
            blocks[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(blocks.values())


def names() -> tuple[str, ...]:
    """Of all environments: the packages of each, all of them, are in NAME.txt beside this file."""
    return tuple(sorted(path.stem for path in HERE.glob("*.txt")))


def pinned(name: str) -> dict[str, str]:
    """Package → version of an environment."""
    lines = (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.partition("==") for line in lines if "==" in line and line[0] != "#")
    return {package: number for package, _, number in pins}


def prepare(
    name: str, base: Path, progress: Progress, *, timeout_s: float | None = None
) -> Environment:
    """Makes an environment, or takes the one that was made from the same list of packages.

    Args:
        name: one of `names`.
        base: folder of the environments.
        progress: told when packages are installed.
        timeout_s: how long each of its steps may take; None for as long as it likes.

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
    make = [sys.executable, "-m", "venv", "--clear", str(folder)]
    run_logged(make, environment.log, {}, folder=REPOSITORY, timeout_s=timeout_s)
    pip = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if "torch" in pinned(name):
        # Alone and by its exact name: a range may bring a build with several GB of CUDA packages.
        environment.run([*pip, f"torch=={pinned(name)['torch']}"], timeout_s=timeout_s)
    # The list is whole. Without --no-deps, Optimum-Intel brings a torchvision that is built for
    # another torch, and transformers can't be imported beside it.
    environment.run([*pip, "--no-deps", "--requirement", str(listed)], timeout_s=timeout_s)
    stamp.write_text(wanted, encoding="utf-8", newline="\n")
    return environment
