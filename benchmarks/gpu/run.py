"""`python benchmarks/gpu/run.py --wheels DIR`: all checks that await a GPU, in one command.

Needs Python alone: it makes an environment from the wheels in DIR, without a network, and runs
`benchmarks.gpu.checks` in it. Without --wheels the checks run in the environment at hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))  # as a script, it has its own folder there instead

from benchmarks.gpu.wheels import kind_of, requirements  # noqa: E402


def make_environment(folder: Path, wheels: Path, device: str) -> Path:
    """A virtual environment with all that the checks need, from a folder of wheels alone.

    Returns:
        Its Python.

    Raises:
        SystemExit: there are no wheels, or one is missing; pip's own message is above.
    """
    if not any(wheels.glob("latedge-*.whl")):
        sys.exit(
            f"error: no wheel of latedge in {wheels}. Fill the folder on a machine with a network: "
            f"python benchmarks/gpu/wheels.py {wheels} --device {device}"
        )
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--find-links", str(wheels)]
    done = subprocess.run([*pip, *offline, *requirements(device)], check=False)
    if done.returncode:
        sys.exit(f"error: the wheels in {wheels} can't be installed; pip says above what is wrong.")
    return python


def variables(python: Path) -> dict[str, str]:
    """The environment variables of the checks.

    The CUDA libraries of an environment lie in its `nvidia` packages, where the loader doesn't look
    by itself. This tree is imported before the wheel of it.
    """
    site = python.parent.parent / "lib"
    libraries = sorted(map(str, site.glob("python3*/site-packages/nvidia/*/lib")))
    paths = {"LD_LIBRARY_PATH": libraries, "PYTHONPATH": [str(REPOSITORY)]}
    added = {name: [*new, *filter(None, [os.environ.get(name)])] for name, new in paths.items()}
    joined = {name: os.pathsep.join(found) for name, found in added.items() if found}
    return {**os.environ, **joined, "HF_HUB_OFFLINE": "1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; what it doesn't know goes to the checks.

    Returns:
        Exit status of the checks: 0 all passed, 1 some failed, 2 wrong usage.
    """
    parser = argparse.ArgumentParser(
        description="Runs the checks that await a GPU. Other options go to benchmarks.gpu.checks; "
        "see its --help."
    )
    parser.add_argument("--wheels", type=Path, help="folder filled by wheels.py")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, gpu, npu; cpu tries it out")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "gpu")
    given, others = parser.parse_known_args(arguments)
    kind_of(given.device)
    given.work.mkdir(parents=True, exist_ok=True)
    python = Path(sys.executable)
    if given.wheels is not None:
        python = make_environment(given.work / "venv", given.wheels, given.device)
    checks = ["-m", "benchmarks.gpu.checks", "--device", given.device, "--work", str(given.work)]
    command = [str(python), *checks, *others]
    return subprocess.run(command, env=variables(python), check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
