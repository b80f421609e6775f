"""From the settings of a call to the sampler and the levels that it visits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runtimes.bundle import Bundle
from runtimes.denoiser import K_UNET, network_output
from runtimes.errors import UsageError
from runtimes.samplers import Sampler, fields_of, load_sampler, make_sampler, noise_schedule
from runtimes.samplers.choice import ScheduleChoice
from runtimes.schedule import Level, NoiseSchedule, check_steps, sigmas_to_timesteps
from runtimes.schedules.align_your_steps import aligned, aligned_sigmas


@dataclass(frozen=True)
class Plan:
    """A sampler, made for a number of steps.

    Attributes:
        sampler: the sampler.
        levels: those that it visits, and the one where its last step ends.
        prediction_type: what the network gives; a key of `runtimes.denoiser.PREDICTION_TYPES`.
        num_train_timesteps: of the noise schedule.
    """

    sampler: Sampler
    levels: tuple[Level, ...]
    prediction_type: str
    num_train_timesteps: int


def make_plan(
    bundle: Bundle, sampler: str, num_inference_steps: int, choice: ScheduleChoice
) -> Plan:
    """The plan of a call; loads nothing.

    Args:
        bundle: its scheduler config, prediction type and family count.
        sampler: a name of `runtimes.samplers.sampler_names`.
        num_inference_steps: steps, as many as are given where sigmas or timesteps are.
        choice: what the call says of the schedule.

    Raises:
        UsageError: the sampler is unknown, or can't run so.
    """
    choice = choice.checked()
    config = {**bundle.scheduler_config, **choice.sampler_options}
    schedule = noise_schedule(sampler, config)
    if choice.schedule == "ays":
        family = bundle.manifest.family
        choice = _align(sampler, family, num_inference_steps, schedule, choice.sampler_options)
    made = make_sampler(
        sampler,
        bundle.scheduler_config,
        schedule=choice.schedule,
        spacing=choice.spacing,
        sigmas=choice.sigmas,
        timesteps=choice.timesteps,
        sampler_options=choice.sampler_options,
    )
    predicts = choice.sampler_options.get("prediction_type", bundle.manifest.prediction_type)
    if bundle.manifest.prediction_type == K_UNET:
        _check_not_said(choice)
        predicts = K_UNET
    output = network_output(config, str(predicts))
    levels = made.levels(schedule, num_inference_steps)
    return Plan(made, levels, output, len(schedule.alphas_cumprod))


def _check_not_said(choice: ScheduleChoice) -> None:
    """A K-U-Net's output is what it is: the scheduler config speaks of the latents made of it."""
    said = choice.sampler_options.get("prediction_type")
    if said is not None:
        raise UsageError(
            f"sampler option prediction_type is {said!r}, but this bundle's U-Net is a K-U-Net, "
            "which predicts one thing alone; leave it out"
        )


def _align(
    sampler: str,
    family: str,
    n: int,
    schedule: NoiseSchedule,
    options: Mapping[str, bool | int | float | str],
) -> ScheduleChoice:
    """A family's aligned steps in the form that a sampler takes.

    At the published number of steps the published timesteps, as diffusers' pipelines are given
    them; at another the sigmas, or the whole timesteps nearest to them.
    """
    check_steps(n, schedule)
    made = load_sampler(sampler)
    table, taken = aligned(family), fields_of(made)
    if not {"sigmas", "timesteps"} & taken:
        raise UsageError(f"sampler {sampler!r} can't follow schedule 'ays'; the nearest is 'euler'")
    if n == len(table.timesteps) and "timesteps" in taken:
        return ScheduleChoice(timesteps=table.timesteps, sampler_options=options)
    sigmas = aligned_sigmas(table, n)
    if not getattr(made, "ends_clean", True):
        sigmas[-1] = table.sigmas[-1]  # where the paper's own last step ends
    if "sigmas" in taken:
        return ScheduleChoice(sigmas=sigmas.tolist(), sampler_options=options)
    timesteps = sigmas_to_timesteps(schedule, sigmas[:-1]).round().tolist()
    if len(set(timesteps)) < n:
        raise UsageError(
            f"num_inference_steps is {n}; with schedule 'ays' sampler {sampler!r} would then "
            "repeat a whole timestep; give fewer steps"
        )
    return ScheduleChoice(timesteps=timesteps, sampler_options=options)
