"""Ancestral steps: go further down than asked, and come back up with fresh noise.

K. Crowson, k-diffusion, 2022; DDPM's posterior (Ho et al., 2020, equation 7) in sigmas.
"""

from __future__ import annotations

import math


def ancestral(start: float, end: float) -> tuple[float, float]:
    """Splits the step from sigma `start` to a lower sigma `end`.

    Returns:
        `down`, the sigma that the deterministic part ends at, and `up`, the deviation of the noise
        that is added then: down² + up² = end², and down = end² / start.
    """
    return end**2 / start, end * math.sqrt(max(1 - (end / start) ** 2, 0.0))
