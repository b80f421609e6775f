"""From what a network predicts to the clean latents it implies.

Samplers know only `denoiser(x, level) -> denoised`. What the network is given (the input's
scaling) and what it gives (eps, v or x0) is settled here, once for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
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

    v is of unit signal and noise in the scaling alpha² + sigma² = 1, so a level of another is
    brought to that first.
    """
    data, scale = level.sigma_data, _deviation(level)
    return (data**2 * level.alpha / scale**2) * x - (data * level.sigma / scale) * v


def from_edm(x: Latents, output: Latents, level: Level) -> Latents:
    """Clean latents from EDM's raw network, v of the other sign: Karras et al., 2022, equation 7.

    diffusers' EDM classes call it "epsilon".
    """
    return from_v(x, -output, level)


def from_sample(x: Latents, sample: Latents, level: Level) -> Latents:
    """Clean latents from a network that predicts them."""
    return sample


PREDICTION_TYPES: dict[str, Callable[[Latents, Latents, Level], Latents]] = {
    "edm": from_edm,
    "epsilon": from_epsilon,
    "k_unet": from_edm,
    "sample": from_sample,
    "v_prediction": from_v,
}
"""What a network predicts → (x, output, level) → denoised."""

K_UNET = "k_unet"
"""The U-Net of k-diffusion, such as the latent upscaler's: EDM's preconditioning, and the noise
level where others are told a timestep. What its scheduler config calls prediction_type is of the
clean latents made of its output."""

SAME_AS = {"original_sample": "sample"}
"""Other names of prediction types in diffusers' scheduler configs."""

EDM_CLASSES = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
"""diffusers' classes for networks with EDM's preconditioning, which no other class runs."""


def network_output(scheduler_config: Mapping[str, object], prediction_type: str) -> str:
    """What a scheduler config means by its prediction_type: a key of `PREDICTION_TYPES`."""
    prediction_type = SAME_AS.get(prediction_type, prediction_type)
    edm = scheduler_config.get("_class_name") in EDM_CLASSES
    return "edm" if edm and prediction_type == "epsilon" else prediction_type


@dataclass(frozen=True)
class Denoiser:
    """A network behind its parameterisation.

    Attributes:
        predict: the network, guided or not: (model_input, timestep) → output.
        prediction_type: what the output is; a key of `PREDICTION_TYPES`.
        concat: channels that follow the latents in the network's input and are scaled as they are;
            see `runtimes.tasks.Start.concat_scaled`.
    """

    predict: Predict
    prediction_type: str = "epsilon"
    concat: Latents | None = None

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
            UsageError: the level has no signal, and the network predicts noise or is told how much
                noise there is beside it.
        """
        if level.alpha == 0 and self.prediction_type in ("epsilon", K_UNET):
            raise UsageError(
                f"prediction_type is {self.prediction_type!r} and the first level has no signal "
                "(zero terminal SNR), where predicted noise says nothing of the picture; use "
                "sampler euler or dpmpp-2m, which begin just below, or a model that predicts v"
            )
        k_unet = self.prediction_type == K_UNET
        timestep = log_noise(level) if k_unet else level.timestep
        output = self._predicted(x, level, timestep)
        return PREDICTION_TYPES[self.prediction_type](x, output, level)

    def _predicted(self, x: Latents, level: Level, timestep: float) -> Latents:
        if self.concat is None:
            return self.predict(model_input(x, level), timestep)
        sample = np.concatenate([x, self.concat], axis=1)
        return self.predict(model_input(sample, level), timestep)[:, : x.shape[1]]


def model_input(x: Latents, level: Level) -> Latents:
    """Latents as the network knows them: of unit variance, as at alpha² + sigma² = 1."""
    scale = _deviation(level)
    return x if math.isclose(scale, 1.0, rel_tol=1e-9) else x / scale


def log_noise(level: Level) -> float:
    """What a K-U-Net is told of a level: log(sigma) / 4 at alpha = 1, c_noise of table 1."""
    return float(np.float32(0.25) * np.log(np.float32(level.sigma / level.alpha)))


def _deviation(level: Level) -> float:
    """The standard deviation of latents at a level."""
    return math.hypot(level.alpha * level.sigma_data, level.sigma)
