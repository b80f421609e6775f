"""How far each sampler's whole trajectory is from its diffusers scheduler's.

Every step feeds the next, and both sides are driven by one network. An error is the largest
difference of a step over the largest latent of the reference at that step. Where a trajectory
departs, both sides compute it once more in float64: what is left then is no rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import msgspec
import numpy as np

from benchmarks.samplers.denoisers import Floats, Network
from runtimes.denoiser import Denoiser, Latents, network_output
from runtimes.errors import LatedgeError
from runtimes.noise import Generator
from runtimes.samplers import Sampler, load_sampler, make_sampler, noise_schedule, options_of
from runtimes.samplers.options import Options

SEED = 3
EXACT = 1e-5
"""What is left of a rounding error where both sides compute in float64. Sigmas and noise are those
of float32 all the same."""

BESIDE = 3e-7
"""Share by which a trajectory's start is moved to see what becomes of rounding: a few units of
float32's last place."""

SAME = 2e-4
"""What a whole trajectory may differ by. Both sides compute in float32, in another order."""

BASE: Mapping[str, object] = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}

SCHEDULES: dict[str, Mapping[str, object]] = {
    "leading": {},
    "linspace": {"timestep_spacing": "linspace"},
    "trailing": {"timestep_spacing": "trailing"},
    "linear betas": {"beta_schedule": "linear"},
    "cosine betas": {"beta_schedule": "squaredcos_cap_v2"},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "zero SNR": {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
}
"""Name → what it changes in `BASE`."""

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class Departure(msgspec.Struct, frozen=True, kw_only=True):
    """Where two trajectories part.

    Attributes:
        step: the first one beyond the tolerance, from 1.
        total: steps of the trajectory, two calls of a step apart.
        error: of that step.
        in_double: the largest error of a step where both sides compute in float64.
        from_itself: the largest distance of a step of ours from the same begun `BESIDE` off: what
            the sampler and the network make of rounding.
    """

    step: int
    total: int
    error: float
    in_double: float
    from_itself: float

    @property
    def is_rounding(self) -> bool:
        """Whether nothing is left of it in float64, or the trajectory amplifies rounding so."""
        return self.in_double <= EXACT or self.from_itself >= self.error / 10


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One comparison.

    Attributes:
        sampler: its name.
        network: which one drove both sides.
        prediction_type: what the network gives.
        schedule: a name of `SCHEDULES`.
        steps: as users count them.
        worst: the largest error of a step; None where one side refused.
        departs: where the trajectories part; None where they don't.
        refused: why, and which side; None where both ran.
    """

    sampler: str
    network: str
    prediction_type: str
    schedule: str
    steps: int
    worst: float | None = None
    departs: Departure | None = None
    refused: str | None = None

    @property
    def asked(self) -> Case:
        """Without what came of it."""
        return msgspec.structs.replace(self, worst=None, departs=None, refused=None)

    def departure(self) -> str | None:
        """The first step at which the sides part, in words; None where they don't."""
        if self.departs is None:
            return None
        found = self.departs
        return (
            f"{self.sampler}, {self.prediction_type}, {self.schedule}, {self.network}: departs at "
            f"step {found.step} of {found.total} with {found.error:.1e}; {found.in_double:.1e} in "
            f"float64; ours from itself begun {BESIDE:g} beside, {found.from_itself:.1e}"
        )

    @property
    def is_wrong(self) -> bool:
        """Whether it departs, and not by rounding alone."""
        return self.departs is not None and not self.departs.is_rounding


def config_of(sampler: str, schedule: str, prediction_type: str) -> dict[str, object] | None:
    """The scheduler config of a case; None where the sampler has no such schedule or type."""
    changes = {**SCHEDULES[schedule], "prediction_type": prediction_type}
    rows = options_of(sampler) or {}
    if not all(_has(rows, name, value) for name, value in changes.items()):
        return None
    reference = cast("Any", load_sampler(sampler)).REFERENCE
    # The only end that those that integrate the noise take; the reference's default is another.
    ends = rows.get("final_sigmas_type")
    end = {"final_sigmas_type": "sigma_min"} if ends == ("sigma_min",) else {}
    return {**BASE, **end, **changes, "_class_name": reference}


def _has(rows: Options, name: str, value: object) -> bool:
    row = rows.get(name)
    if isinstance(row, tuple):
        return value in cast("tuple[object, ...]", row)
    # What no class is asked for belongs to the noise schedule; a rule of sigmas never does.
    return name in rows or not name.startswith("use_")


def compare(case: Case, network: Network, noise: Floats, tolerance: float = SAME) -> Case:
    """A case with its errors, or with why there are none.

    Args:
        case: what is compared.
        network: of the case's prediction type.
        noise: unit normal, where both begin.
        tolerance: the error of a step from which on trajectories part.

    Raises:
        ValueError: the case's sampler doesn't know its schedule.
    """
    try:
        errors = _errors(case, network, noise)
        parted = next((i for i, error in enumerate(errors) if not error <= tolerance), None)
        if parted is None:
            return msgspec.structs.replace(case, worst=max(errors))
        departs = Departure(
            step=parted + 1,
            total=len(errors),
            error=errors[parted],
            in_double=max(_errors(case, network, noise.astype(np.float64))),
            from_itself=_from_itself(case, network, noise),
        )
    except _RefusedError as e:
        return msgspec.structs.replace(case, refused=str(e))
    return msgspec.structs.replace(case, worst=max(errors), departs=departs)


class _RefusedError(Exception):
    """One side does not run a case; says which and why."""


def _errors(case: Case, network: Network, noise: Latents) -> tuple[float, ...]:
    """Of each step, in the precision of the noise."""
    config = config_of(case.sampler, case.schedule, case.prediction_type)
    if config is None:
        raise ValueError(f"{case.sampler} has no schedule {case.schedule}")
    try:
        sampler = make_sampler(case.sampler, config)
        mine = our_trajectory(sampler, config, case, network, noise)
    except LatedgeError as e:
        raise _RefusedError(f"latedge: {e}") from e
    try:
        theirs = _their_trajectory(sampler, config, case, network, noise)
    except Exception as e:  # whatever the reference makes of a config it can't run
        raise _RefusedError(f"diffusers: {type(e).__name__}: {e}") from e
    for index, latents in enumerate(theirs, start=1):
        if not np.isfinite(latents).all():
            raise _RefusedError(f"diffusers: gives NaN at step {index}")
    return step_errors(mine, theirs)


def _from_itself(case: Case, network: Network, noise: Floats) -> float:
    config = config_of(case.sampler, case.schedule, case.prediction_type)
    assert config is not None
    sampler = make_sampler(case.sampler, config)
    starts = (noise, noise * np.float32(1 + BESIDE))
    one, other = (our_trajectory(sampler, config, case, network, start) for start in starts)
    return max(step_errors(other, one))


def our_trajectory(
    sampler: Sampler, config: Mapping[str, object], case: Case, network: Network, noise: Latents
) -> list[Latents]:
    """The latents after each step of one of the project's samplers."""
    levels = sampler.levels(noise_schedule(case.sampler, config), case.steps)
    x = noise * noise.dtype.type(sampler.init_noise_sigma(levels))
    denoiser = Denoiser(network, network_output(config, case.prediction_type))
    return [step.x for step in sampler.sample(denoiser, x, levels, Generator(SEED))]


def _their_trajectory(
    sampler: Sampler, config: Mapping[str, object], case: Case, network: Network, noise: Latents
) -> list[Latents]:
    # torch and diffusers, which take seconds to import.
    from benchmarks.samplers.double import Double, to_double
    from benchmarks.samplers.reference import reference_scheduler, reference_trajectory

    scheduler = reference_scheduler(sampler, config, case.steps, SEED)
    if noise.dtype == np.float32:
        return reference_trajectory(scheduler, network, noise, SEED)
    to_double(scheduler)
    with Double():
        return reference_trajectory(scheduler, network, noise, SEED)


def step_errors(mine: Sequence[Latents], theirs: Sequence[Latents]) -> tuple[float, ...]:
    """The error of each step; infinite where ours is not finite, or of another dtype or length.

    Args:
        mine: the latents after each step.
        theirs: the reference's, finite.
    """
    errors: list[float] = []
    for ours, reference in zip(mine, theirs, strict=False):
        sound = (
            ours.dtype == reference.dtype
            and np.isfinite(ours).all()
            and np.isfinite(reference).all()
        )
        error = np.abs(ours - reference).max() / np.abs(reference).max() if sound else np.inf
        errors.append(float(error))
    return tuple(errors) if len(mine) == len(theirs) else (*errors, float("inf"))


def cases(samplers: Sequence[str], networks: Sequence[str], steps: Sequence[int]) -> Iterator[Case]:
    """Every sampler with every prediction type and schedule that it knows."""
    for sampler in samplers:
        for network in networks:
            for prediction_type in PREDICTION_TYPES:
                for schedule in SCHEDULES:
                    if config_of(sampler, schedule, prediction_type) is None:
                        continue
                    for count in steps:
                        yield Case(
                            sampler=sampler,
                            network=network,
                            prediction_type=prediction_type,
                            schedule=schedule,
                            steps=count,
                        )
