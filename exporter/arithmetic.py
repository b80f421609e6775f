"""Decides which components may be computed in fp16: `compile --arithmetic`.

A value beyond 65504 is infinite in fp16, and a normalisation makes NaN of it: a black picture.
SDXL's VAE has values of 3e5. The decision is written into the manifest, and engines keep to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from exporter.segments import Extreme
from runtimes.errors import UsageError, unknown_name
from runtimes.manifest import Arithmetic, Manifest

FP32, FP16, FORCE_FP16 = "fp32", "fp16", "force-fp16"
MODES = (FP32, FP16, FORCE_FP16)
"""All in fp32; in fp16 what the scan allows; all in fp16."""

HALF_MAX = 65504.0
"""The greatest number that fp16 has."""

MARGIN = 4.0
"""How far the largest value of a scan must stay below it: pictures differ."""


def check_mode(mode: str | None, precision: str, *, default: str | None) -> str | None:
    """How the arithmetic of a bundle is decided on; None leaves it to graphs and devices.

    Args:
        mode: as the user asked, or None.
        precision: how weights are stored.
        default: the target's own for half weights.

    Raises:
        UsageError: there is no such mode, or it wants weights in half precision.
    """
    if mode is None:
        return default if precision == FP16 else None
    if mode not in MODES:
        raise unknown_name("arithmetic", mode, MODES)
    if mode != FP32 and precision != FP16:
        raise UsageError(
            f"--arithmetic {mode} needs weights in half precision: --precision fp16, not "
            f"{precision}."
        )
    return mode


def decide(
    mode: str, manifest: Manifest, config: Mapping[str, object], scan: Callable[[], Extreme]
) -> Arithmetic:
    """What a component may be computed in.

    Args:
        mode: one of `MODES`.
        manifest: of its bundle.
        config: the network's own config.
        scan: finds the largest value that it computes in float32.
    """
    if mode != FP16:
        return Arithmetic(dtype="fp32" if mode == FP32 else "fp16", reason="asked")
    extreme = scan()
    fits = extreme.magnitude * MARGIN <= HALF_MAX
    # A few inputs that happen to fit don't outweigh what the model's authors found.
    upcast = fits and is_upcast(manifest, config)
    return Arithmetic(
        dtype="fp16" if fits and not upcast else "fp32",
        reason="force_upcast" if upcast else "range",
        largest=_rounded(extreme.magnitude),
        value=extreme.value,
    )


def is_upcast(manifest: Manifest, config: Mapping[str, object]) -> bool:
    """Whether diffusers' pipeline of the model decodes in float32 because the VAE's config says so.

    The field is true where a config leaves it out. The pipelines of SDXL and of the upscalers heed
    it, those of Stable Diffusion 1.x and 2.x don't, whose VAE holds in half precision.
    """
    heeded = manifest.conditioning is not None or manifest.low_res_scheduler is not None
    return heeded and config.get("force_upcast") is True


def _rounded(magnitude: float) -> float | None:
    """To two digits: the same on machines that sum in another order."""
    return float(f"{magnitude:.2g}") if math.isfinite(magnitude) else None
