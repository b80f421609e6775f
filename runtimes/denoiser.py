"""From what a network predicts to the clean latents it implies.

Samplers know only `denoiser(x, level) -> denoised`. What the network is given (the input's
scaling) and what it gives (eps, v or x0) is settled here, once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.errors import UsageError, unknown_name
from runtimes.schedule import Level

# float32 in the pipeline. float64 latents stay float64 (a level's coefficients are Python floats,
# which take the array's precision), which is how the orders of convergence are measured.
Latents = NDArray[np.floating[Any]]
Predict = Callable[[Latents, float], Latents]
"""(model_input, timestep) → the network's output, of model_input's shape."""


def from_epsilon(x: Latents, eps: Latents, level: Level) -> Latents:
    """Clean latents from predicted noise: x = alpha * x0 + sigma * eps."""
    return (x - level.sigma * eps) / level.alpha


def from_v(x: Latents, v: Latents, level: Level) -> Latents:
    """Clean latents from v = alpha * eps - sigma * x0: Salimans and Ho, 2022, appendix D.

    v is of the scaling alpha² + sigma² = 1, so a level of another is brought to that first.
    """
    scale = math.hypot(level.alpha, level.sigma)
    return (level.alpha / scale**2) * x - (level.sigma / scale) * v


def from_sample(x: Latents, sample: Latents, level: Level) -> Latents:
    """Clean latents from a network that predicts them."""
    return sample


PREDICTION_TYPES: dict[str, Callable[[Latents, Latents, Level], Latents]] = {
    "epsilon": from_epsilon,
    "sample": from_sample,
    "v_prediction": from_v,
}
"""A scheduler config's prediction_type → (x, output, level) → denoised."""


@dataclass(frozen=True)
class Denoiser:
    """A network behind its parameterisation.

    Attributes:
        predict: the network, guided or not: (model_input, timestep) → output.
        prediction_type: what the output is; a key of `PREDICTION_TYPES`.
    """

    predict: Predict
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        """Refuses an unknown prediction type.

        Raises:
            UsageError: lists the known ones and the closest.
        """
        if self.prediction_type not in PREDICTION_TYPES:
            raise unknown_name("prediction_type", self.prediction_type, PREDICTION_TYPES)

    def __call__(self, x: Latents, level: Level) -> Latents:
        """Calls the network once and returns the clean latents it implies.

        Args:
            x: latents at `level`, in the level's own scaling.
            level: the level.

        Raises:
            UsageError: the level has no signal and the network predicts noise.
        """
        if level.alpha == 0 and self.prediction_type == "epsilon":
            raise UsageError(
                "prediction_type is 'epsilon' and the first level has no signal (zero terminal "
                "SNR), where predicted noise says nothing of the picture; use sampler euler or "
                "dpmpp-2m, which begin just below, or a model that predicts v"
            )
        output = self.predict(model_input(x, level), level.timestep)
        return PREDICTION_TYPES[self.prediction_type](x, output, level)


def model_input(x: Latents, level: Level) -> Latents:
    """Latents as the network knows them: scaled to alpha² + sigma² = 1."""
    scale = math.hypot(level.alpha, level.sigma)
    return x if math.isclose(scale, 1.0, rel_tol=1e-9) else x / scale
