"""Linear multistep: Adams-Bashforth on unequal steps in sigma.

K. Crowson, k-diffusion, 2022; E. Hairer et al., "Solving Ordinary Differential Equations I", III.5.
Follows diffusers' LMSDiscreteScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from runtimes.samplers.k_levels import KSampler, check_no_repeats, with_end
from runtimes.samplers.options import Options
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.schedule import Level, NoiseSchedule


@dataclass(frozen=True)
class LMS(KSampler):
    """LMS, deterministic.

    Attributes: those of `KSampler`, and
        order: how many slopes the last step and those before it give, at most.
    """

    order: Literal[1, 2, 3, 4] = 4
    calls_per_step: ClassVar[int] = 1
    karras_has_bounds: ClassVar[bool] = False
    REFERENCE: ClassVar[str] = "LMSDiscreteScheduler"
    OPTIONS: ClassVar[Options] = {
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False, True),
        "use_beta_sigmas": (False, True),
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        # Not among the class's fields, but it reads what an Euler config leaves it.
        "sigma_min": None,
        "sigma_max": None,
        # The class overlooks the field, and would run such a model on another schedule.
        "rescale_betas_zero_snr": (False,),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls, at timesteps that may be fractions."""
        sigmas, timesteps = self.visited(schedule, num_inference_steps)
        check_no_repeats("lms", sigmas)
        return with_end(sigmas, timesteps.astype(np.float32))

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws no noise.

        Begun in the middle, the first steps have the weights of the full order, as in the
        reference, and only the slopes there are: they go further than the levels say, by up to a
        factor of 55/24 where steps are equal.
        """
        slopes: list[Latents] = []
        for index in range(begin, len(levels) - 1):
            level = levels[index]
            denoised = denoiser(x, level)
            slopes = [(x - denoised) / level.sigma, *slopes[: self.order - 1]]
            order = min(index + 1, self.order)
            nodes = [levels[index - back].sigma for back in range(order)]
            weights = multistep_weights(nodes, levels[index + 1].sigma)
            for weight, slope in zip(weights, slopes, strict=False):
                x = x + weight * slope
            x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
        return x


def multistep_weights(nodes: Sequence[float], end: float) -> list[float]:
    """What the slope at each node weighs in the step from the first node to `end`.

    The integral of the Lagrange polynomials of the nodes, by Gauss's rule of two points, which is
    exact up to the third degree.

    Args:
        nodes: one to four sigmas, the newest first.
        end: the sigma that the step leads to.
    """
    middle, half = (nodes[0] + end) / 2, (end - nodes[0]) / 2
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    return [half * sum(_lagrange(nodes, k, at) for at in points) for k in range(len(nodes))]


def _lagrange(nodes: Sequence[float], k: int, at: float) -> float:
    """The polynomial that is 1 at node k and 0 at the others."""
    others = [node for i, node in enumerate(nodes) if i != k]
    return math.prod((at - node) / (nodes[k] - node) for node in others)
