"""Stable Diffusion 2.x: OpenCLIP's text encoder, a U-Net whose attention projects linearly."""

from __future__ import annotations

from dataclasses import replace

from exporter.components.base import Config
from exporter.families.sd1 import SD1


def _matches(unet: Config) -> bool:
    return bool(unet.get("use_linear_projection", False))


SD2 = replace(SD1, name="sd2", matches=_matches)
