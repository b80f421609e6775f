"""The sampler and the schedule of a call, as they are in the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from runtimes.bundle import Bundle
from runtimes.checks import MAX_STEPS, check_count
from runtimes.errors import UsageError
from runtimes.manifest import Graph
from runtimes.options import ScheduleOptions
from runtimes.plan import Plan, make_plan
from runtimes.samplers import SAMPLERS, default_sampler, options_of, sampler_names
from runtimes.samplers.choice import Scalar, ScheduleChoice
from runtimes.samplers.options import SIGMA_FLAGS
from runtimes.schedules.given import check_given_count


class ScheduleFields(TypedDict):
    """The fields of `Settings` that `settle_schedule` settles."""

    num_inference_steps: int
    sampler: str
    schedule: str | None
    spacing: str | None
    sigmas: tuple[float, ...] | None
    timesteps: tuple[float, ...] | None
    sampler_options: dict[str, Scalar]


def settle_schedule(bundle: Bundle, options: ScheduleOptions) -> tuple[ScheduleFields, Plan]:
    """Checks what is asked of the schedule; gives it, and the levels that it comes to.

    Where nothing is said, the scheduler config's word is told.

    Raises:
        UsageError: an option is wrong, or the sampler can't run so, or the U-Net can't be told
            the timesteps that it visits.
    """
    asked = options.get("sampler")
    sampler = _default_sampler(bundle) if asked is None else asked
    choice = ScheduleChoice.of(options).checked()
    default = bundle.manifest.defaults.num_inference_steps
    steps = _steps(choice, options.get("num_inference_steps"), default)
    plan = make_plan(bundle, sampler, steps, choice)
    visited = [level.timestep for level in plan.levels[:-1]]
    _check_timesteps(bundle.graph("unet"), sampler, visited)
    said = {*SIGMA_FLAGS, "timestep_spacing"}  # which schedule and spacing say now
    fields: ScheduleFields = {
        "num_inference_steps": steps,
        "sampler": sampler,
        "schedule": _schedule(choice, plan),
        "spacing": _spacing(sampler, choice, plan),
        "sigmas": None if choice.sigmas is None else tuple(choice.sigmas),
        "timesteps": None if choice.timesteps is None else tuple(choice.timesteps),
        "sampler_options": {k: v for k, v in choice.sampler_options.items() if k not in said},
    }
    return fields, plan


def _default_sampler(bundle: Bundle) -> str:
    """The bundle's sampler, if its scheduler config is one that a sampler can stand for.

    Where no sampler follows the scheduler's class, export noted one that works with every schedule.
    It would give other pictures than the reference, so it isn't taken unasked.
    """
    config, name = bundle.scheduler_config, bundle.manifest.defaults.sampler
    if name in SAMPLERS and "_class_name" in config:
        default_sampler(config)
    return name


def _steps(choice: ScheduleChoice, asked: int | None, default: int) -> int:
    """How many steps are asked for; sigmas and timesteps that are given say it themselves."""
    given = len(choice.timesteps or ()) or len(choice.sigmas or (0,)) - 1
    count = given or default
    steps = check_count("num_inference_steps", count if asked is None else asked, MAX_STEPS)
    if given:
        check_given_count("timesteps" if choice.timesteps else "sigmas", given, steps)
    return steps


def _schedule(choice: ScheduleChoice, plan: Plan) -> str | None:
    if choice.given:
        return None
    rule = str(getattr(plan.sampler, "sigma_rule", "interpolated"))
    return choice.schedule or ("plain" if rule == "interpolated" else rule)


def _spacing(sampler: str, choice: ScheduleChoice, plan: Plan) -> str | None:
    if choice.given or choice.schedule == "ays":
        return None
    rows = options_of(sampler)
    # Some have the field for their base's sake, and can't be told a spacing.
    told = rows is None or "timestep_spacing" in rows
    return getattr(plan.sampler, "timestep_spacing", None) if told else None


def _check_timesteps(unet: Graph, sampler: str, timesteps: Sequence[float]) -> None:
    dtypes = [port.dtype for port in unet.inputs if port.role == "timestep"]
    if not dtypes or not dtypes[0].startswith("int"):
        return
    for timestep in timesteps:
        if not timestep.is_integer():
            raise UsageError(
                f"sampler {sampler!r} visits timestep {timestep:.2f} with these settings, but this "
                f"bundle's U-Net takes whole ones only; other samplers are "
                f"{', '.join(sorted(set(sampler_names()) - {sampler}))}."
            )
