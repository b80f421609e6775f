"""PNDM: L. Liu et al., "Pseudo Numerical Methods for Diffusion Models on Manifolds", 2022.

Follows diffusers' PNDMScheduler, in both its ways: PLMS alone (as Stable Diffusion ships it), and
three Runge-Kutta steps of four calls each before it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from runtimes.errors import UsageError
from runtimes.samplers.options import Options
from runtimes.samplers.ranges import Offset
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Step, replaced
from runtimes.samplers.strided import (
    StridedLevel,
    after,
    before,
    final_level,
    given_levels,
    strided_levels,
    strided_timesteps,
)
from runtimes.schedule import Level, NoiseSchedule, Spacing

# Weights of the network's last outputs, newest first, by how many there are: Adams-Bashforth.
WEIGHTS: dict[int, tuple[float, ...]] = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}
# The classical Runge-Kutta weights of the four calls of one step.
KUTTA = (1 / 6, 1 / 3, 1 / 3, 1 / 6)
KUTTA_CALLS = 12

Outputs = Sequence[Latents]


@dataclass(frozen=True)
class PNDM:
    """Linear multistep on the network's outputs (PLMS), with or without a Runge-Kutta start.

    Attributes:
        timestep_spacing: which timesteps are visited.
        steps_offset: added to leading timesteps.
        set_alpha_to_one: whether the last step ends without noise, or at timestep 0's.
        skip_prk_steps: True for PLMS alone, whose second call repeats the first step with the mean
            of two outputs; False for twelve Runge-Kutta calls before it.
        prediction_type: which of the network's outputs is extrapolated. The reference extrapolates
            what the network gives; with v that lowers the order of convergence from 3 to 1, since
            v is then turned into eps with the latents of the step's start.
        timesteps: in place of the spaced ones, those of all steps, whole, without Runge-Kutta
            calls. The reference takes none; here each step ends at the next one. The weights are
            those of even steps, so uneven ones lower the order of convergence.
    """

    timestep_spacing: Spacing = "leading"
    steps_offset: Offset = 0
    set_alpha_to_one: bool = False
    skip_prk_steps: bool = False
    prediction_type: Literal["epsilon", "v_prediction"] = "epsilon"
    timesteps: tuple[float, ...] | None = None
    calls_per_step: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "PNDMScheduler"
    OPTIONS: ClassVar[Options] = {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": 0,
        "set_alpha_to_one": (False, True),
        "skip_prk_steps": (False, True),
        "prediction_type": ("epsilon", "v_prediction"),
        # The class doesn't know the field; but the first step divides by alpha, which would be 0.
        "rescale_betas_zero_snr": (False,),
    }

    def levels(self, schedule: NoiseSchedule, num_inference_steps: int) -> tuple[Level, ...]:
        """See `Sampler.levels`: `num_inference_steps` calls and one more, or nine more with PRK."""
        n = num_inference_steps
        if self.timesteps is not None:
            return self._given(schedule, self.timesteps, n)
        timesteps = strided_timesteps(
            schedule, n, self.timestep_spacing, self.steps_offset
        ).tolist()
        stride = schedule.num_train_timesteps // n
        final = final_level(schedule, self.set_alpha_to_one)
        if self.skip_prk_steps:
            calls = [*timesteps[:2], *timesteps[1:]]
            visited = strided_levels(schedule, calls, stride, final)
        else:
            kutta = _kutta_levels(schedule, timesteps, stride, final)
            visited = [*kutta, *strided_levels(schedule, timesteps[3:], stride, final)]
        return (*visited, visited[-1].after)

    def _given(
        self, schedule: NoiseSchedule, timesteps: tuple[float, ...], n: int
    ) -> tuple[Level, ...]:
        if not self.skip_prk_steps:
            raise UsageError(
                "pndm with skip_prk_steps false takes no timesteps that are given, since its "
                "Runge-Kutta calls lie between them; set skip_prk_steps, or take another sampler"
            )
        final = final_level(schedule, self.set_alpha_to_one)
        visited = given_levels(schedule, timesteps, n, final)
        return (*visited[:2], *visited[1:], final)

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
        """See `Sampler.sample`; draws no noise."""
        outputs: Outputs = []
        first = begin
        if not self.skip_prk_steps:
            if begin:
                raise UsageError(
                    "pndm with skip_prk_steps false begins at the first level alone; set "
                    "skip_prk_steps, or take another sampler"
                )
            first = KUTTA_CALLS
            x, outputs = yield from self._kutta(denoiser, x, levels)
        start_x = x
        for index in range(first, len(levels) - 1):
            level = levels[index]
            denoised = denoiser(x, level)
            output = self._output(x, denoised, level)
            if self.skip_prk_steps and index == begin + 1:
                # The reference takes the first step again, now with the mean slope of both ends.
                mean = (output + outputs[0]) / 2
                x = self._transfer(start_x, mean, before(levels, index), level)
            else:
                outputs = [output, *outputs[:3]]
                x = self._transfer(x, _combine(outputs), level, after(levels, index))
            x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
        return x

    def _kutta(
        self, denoiser: Denoise, x: Latents, levels: Sequence[Level]
    ) -> Generator[Step, Latents | None, tuple[Latents, Outputs]]:
        """Three Runge-Kutta steps of four calls; returns latents and each step's first output."""
        outputs: Outputs = []
        for first in range(0, KUTTA_CALLS, len(KUTTA)):
            start, start_x = levels[first], x
            slopes: list[Latents] = []
            for index in range(first, first + len(KUTTA)):
                level = levels[index]
                denoised = denoiser(x, level)
                slopes.append(self._output(x, denoised, level))
                last = len(slopes) == len(KUTTA)
                slope = _weighted(KUTTA, slopes) if last else slopes[-1]
                x = self._transfer(start_x, slope, start, after(levels, index))
                x = replaced(x, (yield Step(index, len(levels) - 1, level, x, denoised)))
            outputs = [slopes[0], *outputs]
        return x, outputs

    def _output(self, x: Latents, denoised: Latents, level: Level) -> Latents:
        """What the network gave for `denoised`."""
        if self.prediction_type == "v_prediction":
            return (level.alpha * x - denoised) / level.sigma
        return (x - level.alpha * denoised) / level.sigma

    def _transfer(self, x: Latents, output: Latents, start: Level, target: Level) -> Latents:
        """Equation 11: the step from `start` to `target` that is exact for a constant eps."""
        eps = output
        if self.prediction_type == "v_prediction":
            eps = start.alpha * output + start.sigma * x
        ratio = target.alpha / start.alpha
        return ratio * x + (target.sigma - ratio * start.sigma) * eps


def _kutta_levels(
    schedule: NoiseSchedule, timesteps: Sequence[int], stride: int, final: Level
) -> Iterator[StridedLevel]:
    """Start, twice the middle, and end of three steps; each with where its own step leads."""
    if len(timesteps) < 4:
        raise UsageError(
            f"num_inference_steps is {len(timesteps)}; pndm with skip_prk_steps false "
            "takes at least 4"
        )
    half = stride // 2
    for start, end in pairwise(timesteps[:4]):
        for timestep, back in ((start, half), (end + half, 0), (end + half, half), (end, 0)):
            yield from strided_levels(schedule, [timestep], back, final)


def _weighted(weights: Sequence[float], arrays: Sequence[Latents]) -> Latents:
    total = weights[0] * arrays[0]
    for weight, array in zip(weights[1:], arrays[1:], strict=True):
        total += weight * array
    return total


def _combine(outputs: Outputs) -> Latents:
    return _weighted(WEIGHTS[len(outputs)], outputs)
