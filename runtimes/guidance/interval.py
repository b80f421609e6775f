"""Guidance for a part of the way.

T. Kynkäänniemi et al., "Applying Guidance in a Limited Interval Improves Sample and Distribution
Quality in Diffusion Models", 2024.
"""

from __future__ import annotations

from itertools import count

from runtimes.denoiser import Latents
from runtimes.guidance.condition import Network

Interval = tuple[float, float]
"""Where guidance starts and stops, as fractions of a run's calls of the network."""

WHOLE: Interval = (0.0, 1.0)


def guided_calls(interval: Interval, total: int) -> range:
    """Which of a run's calls are guided: fractions rounded down, the last one left out.

    Args:
        interval: where guidance starts and stops, 0 to 1.
        total: calls that the run makes; where a picture is changed, those from its first level on.
    """
    start, stop = interval
    return range(int(start * total), int(stop * total))


def within(
    interval: Interval, total: int, guided: Network, plain: Network, *, before: int = 0
) -> Network:
    """A network for one run of a sampler: guided within the interval, plain outside it.

    It counts its calls, since levels don't tell them apart: samplers that call the network twice a
    step come to one timestep by two steps.

    Args:
        interval: where guidance starts and stops.
        total: calls that are made in all.
        guided: the network as it is called within.
        plain: as it is called outside, where the unconditional half would be thrown away.
        before: how many of the calls were made before this network's first.
    """
    if interval == WHOLE:
        return guided
    calls, inside = count(before), guided_calls(interval, total)

    def predict(x: Latents, timestep: float) -> Latents:
        return (guided if next(calls) in inside else plain)(x, timestep)

    return predict
