"""Which engine a bundle is compared with torch on, and on which of its devices."""

from __future__ import annotations

from runtimes.errors import UsageError
from runtimes.manifest import Manifest

CORE_ML = "coreml"
REFERENCE = "reference"
"""The device that evaluates Core ML packages in NumPy, and the start of the names of its kind."""


def verifying_device(manifest: Manifest, asked: str | None = None) -> str:
    """The device that a bundle's graphs are compared on.

    Core ML's packages are evaluated in NumPy where nothing is said, on a Mac too: what a package
    computes is the same everywhere, and how a device does is another question.

    Raises:
        UsageError: a device is asked for, and the bundle is portable.
    """
    if asked is None:
        return REFERENCE if manifest.target == CORE_ML else "cpu"
    if manifest.target is None:
        raise UsageError(
            f"--device {asked} is said of a compiled bundle, and this one is portable: its graphs "
            "are lowered and compared on the CPU. Leave it out."
        )
    return asked.lower()


def engine_told(manifest: Manifest, device: str) -> str:
    """The engine as a report names it; with its device where that isn't the CPU, or Core ML's."""
    if manifest.target is None:
        return "onnxruntime"
    if device.startswith(REFERENCE):
        _, _, arithmetic = device.partition(":")
        rounded = f", {arithmetic}" if arithmetic else ""
        return f"{manifest.target}, reference executor{rounded}"
    alone = device == "cpu" and manifest.target != CORE_ML
    return manifest.target if alone else f"{manifest.target} on {device}"


def check_nodes(manifest: Manifest, flag: str) -> None:
    """Refuses what looks into graphs where these are Core ML packages.

    Raises:
        UsageError: says so of the flag.
    """
    if manifest.target == CORE_ML:
        raise UsageError(
            f"{flag} looks into the nodes of ONNX graphs and OpenVINO IRs; Core ML packages are "
            "compared by component. Leave it out."
        )
