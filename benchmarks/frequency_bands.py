"""Splits the energy of a picture by spatial frequency."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

EDGES = (0.0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
"""Of the bands, cycles per pixel, the lower one included: octaves, the last up to the corner of the
spectrum at 0.71. A grid of single pixels has 1/2, an edge that is spread over 16 pixels 1/32."""

NAMES = tuple(
    f"below 1/{1 / high:.0f}"
    if low == 0
    else f"1/{1 / low:.0f} and up"
    if high == 1.0
    else f"1/{1 / low:.0f} to 1/{1 / high:.0f}"
    for low, high in pairwise(EDGES)
)


def band_energies(picture: Floats) -> NDArray[np.float64]:
    """The mean square of a picture's values, its mean left out, by band of `EDGES`.

    By Parseval's theorem the bands add up to the picture's variance about its channels' means. The
    transform takes the picture as a tile: edges that don't meet count as high frequencies.

    Args:
        picture: [height, width, channels].

    Returns:
        float64 [bands].
    """
    height, width, channels = picture.shape
    spectrum = np.fft.fft2(picture.astype(np.float64), axes=(0, 1))
    energy = (np.abs(spectrum) ** 2).sum(axis=2) / (height * width) ** 2 / channels
    energy[0, 0] = 0
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.fftfreq(width))
    band = np.digitize(frequency, EDGES[1:-1])
    sums = np.bincount(band.ravel(), energy.ravel(), minlength=len(NAMES))
    return sums.astype(np.float64)
