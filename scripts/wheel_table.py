"""Writes the README's table of wheels: which of the pinned packages exist for which systems.

    .venv/bin/python scripts/wheel_table.py

Asks the configured package index, once for each package and system, and downloads nothing. Python
3.11's wheels, in the versions of `constraints.txt`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"

PACKAGES = ("numpy", "msgspec", "pillow", "onnxruntime", "openvino", "torch")

# pip takes a platform by its very name: wheels for an older glibc are not implied.
_GLIBC = ("2014", "_2_17", "_2_24", "_2_27", "_2_28", "_2_31", "_2_34", "_2_35", "_2_39")
SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "Linux x86-64": tuple(f"manylinux{version}_x86_64" for version in _GLIBC),
    "Linux aarch64": tuple(f"manylinux{version}_aarch64" for version in _GLIBC),
    "macOS arm64": ("macosx_14_0_arm64",),
    "macOS x86-64": ("macosx_14_0_x86_64",),
    "Windows x86-64": ("win_amd64",),
    "Windows arm64": ("win_arm64",),
}
"""System → the platform tags that its wheels may have."""


def wheel(package: str, platforms: Sequence[str]) -> str | None:
    """The name of the wheel that pip would take, or None where there is none."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    command += ["--dry-run", "--no-deps", "--ignore-installed", "--report", "-"]
    command += ["--only-binary=:all:", "--python-version", "3.11", "--implementation", "cp"]
    command += [f"--platform={platform}" for platform in platforms]
    command += ["--constraint", str(CONSTRAINTS), package]
    with tempfile.TemporaryDirectory() as nowhere:
        command += ["--target", nowhere]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        if "No matching distribution" in found.stderr or "ResolutionImpossible" in found.stderr:
            return None
        raise SystemExit(found.stderr.strip())
    url = json.loads(found.stdout)["install"][0]["download_info"]["url"]
    return str(url).rpartition("/")[2]


def pins() -> dict[str, str]:
    """Package → version, as `constraints.txt` has them."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


def main() -> None:
    """Prints the table as Markdown."""
    versions = pins()
    print(f"| | {' | '.join(f'{name} {versions[name]}' for name in PACKAGES)} |")
    print("|---" * (len(PACKAGES) + 1) + "|")
    for system, platforms in SYSTEMS.items():
        found = [wheel(name, platforms) for name in PACKAGES]
        for name, file in zip(PACKAGES, found, strict=True):
            print(f"{system}, {name}: {file or 'none'}", file=sys.stderr, flush=True)
        print(f"| {system} | {' | '.join('yes' if file else 'no' for file in found)} |", flush=True)


if __name__ == "__main__":
    main()
