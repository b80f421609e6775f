"""What a checkpoint's U-Net predicts, and from where that is known."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

_SPEC = "modelspec.prediction_type"
_ARCHITECTURE = "modelspec.architecture"
_RESOLUTION = "modelspec.resolution"
_NAMES = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
}
_ARCHITECTURES = {
    "stable-diffusion-v2-512": "epsilon",
    "stable-diffusion-v2-768-v": "v_prediction",
}
_V_MARK, _ZERO_SNR_MARK = "v_pred", "ztsnr"


@dataclass(frozen=True)
class Prediction:
    """What a U-Net predicts.

    Attributes:
        type: "epsilon" or "v_prediction".
        known_from: what says so.
        zero_terminal_snr: whether the last timestep is pure noise.
    """

    type: str
    known_from: str
    zero_terminal_snr: bool = False


def find_prediction(
    keys: Collection[str], metadata: Mapping[str, str], given: str | None, usual: str | None
) -> Prediction | None:
    """Finds out what a checkpoint's U-Net predicts.

    Args:
        keys: of the checkpoint.
        metadata: of the file (https://github.com/Stability-AI/ModelSpec).
        given: what the user says; comes first.
        usual: the family's, where nothing else says; None where it has none.

    Returns:
        None where it must be said.
    """
    spec = metadata.get(_SPEC, "").lower()
    architecture = metadata.get(_ARCHITECTURE, "").lower().partition("/")[0]
    sources = (
        (given, "--prediction-type"),
        ("v_prediction" if _V_MARK in keys else None, f"the key {_V_MARK}"),
        (_NAMES.get(spec), f"the metadata {_SPEC}={spec}"),
        (_ARCHITECTURES.get(architecture), f"the metadata {_ARCHITECTURE}={architecture}"),
        (usual, "the family's usual one"),
    )
    for found, known_from in sources:
        if found is not None:
            return Prediction(found, known_from, _ZERO_SNR_MARK in keys)
    return None


def resolution(metadata: Mapping[str, str]) -> int | None:
    """The model's own picture size in pixels (the shorter side), where the metadata say it."""
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", metadata.get(_RESOLUTION, "").strip())
    sides = [int(side) for side in found.groups() if side] if found else []
    return min(sides) if sides and min(sides) >= 64 else None
