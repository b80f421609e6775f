"""`python benchmarks/gpu/wheels.py DIR`: all wheels that `run.py` needs, for a machine without one.

Needs a network and Python with pip alone. Run it with the same Python version, system and kind of
processor as the machine that the folder is carried to; no GPU is needed for it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

EXTRAS: dict[str, str] = {
    "cuda": "export,onnxruntime-gpu,bench",
    "gpu": "export,onnxruntime,openvino,bench",
    "npu": "export,onnxruntime,openvino,bench",
    "cpu": "export,onnxruntime,openvino,bench",
}
"""Device, its number aside → the extras of latedge that its checks need."""

LIBRARIES: dict[str, tuple[str, ...]] = {"cuda": ("onnxruntime-gpu[cuda,cudnn]",)}
"""Device → what must be there beside them: CUDA's own libraries."""


def kind_of(device: str) -> str:
    """A device without its number: "cuda" of "cuda:0".

    Raises:
        SystemExit: there are no checks for it.
    """
    kind = device.lower().partition(":")[0]
    if kind not in EXTRAS:
        sys.exit(f"error: no checks for device {device!r}; there are for {', '.join(EXTRAS)}.")
    return kind


def requirements(device: str) -> list[str]:
    """What pip shall install for a device's checks."""
    kind = kind_of(device)
    return [f"latedge[{EXTRAS[kind]}]", *LIBRARIES.get(kind, ())]


def download(folder: Path, device: str, constraints: Path) -> None:
    """Fills a folder with wheels: latedge's own, built from this tree, and all it depends on.

    Raises:
        SystemExit: pip failed; its own message is above.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    # An older build of the same version would be taken for this one.
    for old in folder.glob("latedge-*.whl"):
        old.unlink()
    _run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY)])
    wanted = ["--find-links", str(folder), "--constraint", str(constraints), *requirements(device)]
    _run([*pip, "download", "--only-binary", ":all:", "--dest", str(folder), *wanted])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"error: pip ended with exit status {done.returncode}; see above.")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Downloads the wheels that run.py needs.")
    parser.add_argument("folder", type=Path, help="where they go; several GB for cuda")
    parser.add_argument("--device", default="cuda:0", help="as for run.py")
    given = parser.parse_args(arguments)
    download(given.folder, given.device, REPOSITORY / "constraints.txt")
    print(f"{len(list(given.folder.glob('*.whl')))} wheels in {given.folder}")


if __name__ == "__main__":
    main()
