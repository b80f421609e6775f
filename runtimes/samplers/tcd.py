"""J. Zheng et al., "Trajectory Consistency Distillation", 2024, algorithm 4: gamma sampling.

Follows diffusers' TCDScheduler.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np

from runtimes.denoiser import Latents
from runtimes.samplers.distilled import distilled_timesteps
from runtimes.samplers.log_snr import epsilon_of
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Share
from runtimes.samplers.sampler import Denoise, Noise, Run, Step, replaced
from runtimes.schedule import Level, NoiseSchedule


@dataclass(frozen=True)
class TrajectoryLevel(Level):
    """A level that knows where the network's jump from it ends.

    Attributes:
        landing: cleaner than the next level; fresh noise makes up for it.
    """

    landing: Level


@dataclass(frozen=True)
class TCD:
    """Jumps along the trajectory, past the next timestep, and goes back by fresh noise.

    Attributes:
        original_inference_steps: how many timesteps the model was distilled on.
        strength: as of `LCM`.
        timesteps: the timesteps to visit, descending; None to choose them.
        eta: gamma of the paper, the share of the way to timestep 0 by which a jump goes too far,
            0 to 1: deterministic at 0, as `LCM` at 1. 0 unless it is told, as diffusers' pipelines
            have it, which pass it on to the scheduler (whose own default, the paper's 0.3, never
            comes to bear there).
    """

    original_inference_steps: int = 50
    strength: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    timesteps: tuple[float, ...] | None = None
    eta: Share = 0.0
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "TCDScheduler"
    OPTIONS: ClassVar[Options] = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "original_inference_steps": 50,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        # Fields of the class that it does nothing with.
        "clip_sample": False,
        "clip_sample_range": 1.0,
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1.0,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "thresholding": False,
        "timestep_scaling": 10.0,
        "timestep_spacing": "leading",
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls. The last step ends at timestep 0."""
        timesteps = distilled_timesteps(
            schedule,
            num_inference_steps,
            self.original_inference_steps,
            self.strength,
            self.timesteps,
        )
        nexts = [*timesteps[1:], 0]
        # float32, as torch takes the product of an integer tensor.
        share = np.float32(1 - self.eta)
        landings = [int(np.floor(share * np.float32(timestep))) for timestep in nexts]
        visited = [
            TrajectoryLevel(level.alpha, level.sigma, level.timestep, schedule.level(landing))
            for level, landing in zip(map(schedule.level, timesteps), landings, strict=True)
        ]
        return (*visited, schedule.level(0))

    def init_noise_sigma(self, levels: Sequence[Level]) -> float:
        """See `Sampler.init_noise_sigma`: latents have unit variance at every level."""
        return 1.0

    def sample(
        self,
        denoiser: Denoise,
        x: Latents,
        levels: Sequence[Level],
        noise: Noise,
        *,
        begin: int = 0,
    ) -> Run:
        """See `Sampler.sample`; draws noise at every step but the last, unless eta is 0."""
        total = len(levels) - 1
        for index in range(begin, total):
            level, target = levels[index], levels[index + 1]
            denoised = denoiser(x, level)
            landing = level.landing if isinstance(level, TrajectoryLevel) else target
            x = landing.alpha * denoised + landing.sigma * epsilon_of(x, denoised, level)
            if self.eta > 0 and index + 1 < total:
                kept = target.alpha / landing.alpha
                x = kept * x + math.sqrt(max(1 - kept**2, 0.0)) * noise.randn(x.shape)
            x = replaced(x, (yield Step(index, total, level, x, denoised)))
        return x
