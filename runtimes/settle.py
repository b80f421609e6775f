"""Checks what is asked of a bundle and fills in what is not said, before any slow work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, TypeVar

from runtimes.bundle import Bundle
from runtimes.checks import (
    MAX_IMAGES,
    MAX_STEPS,
    check_count,
    check_guidance_scale,
    check_negative_prompts,
    check_prompts,
    check_seed,
)
from runtimes.errors import BundleError, UsageError
from runtimes.inputs import Inputs
from runtimes.latents import built_side, check_side
from runtimes.manifest import Graph
from runtimes.plan import Plan, make_plan
from runtimes.samplers import SAMPLERS, default_sampler, sampler_names
from runtimes.samplers.choice import Scalar, ScheduleChoice
from runtimes.samplers.options import SIGMA_FLAGS
from runtimes.schedules.given import check_given_count
from runtimes.settings import Settings
from runtimes.tasks import TASKS, load_task

T = TypeVar("T")

NEEDED = ("text_encoder", "unet", "vae_decoder")
"""Components that every task takes."""

NO_INPUTS = Inputs()


def settle(
    bundle: Bundle,
    prompt: str | Sequence[str],
    negative_prompt: str | Sequence[str] | None = None,
    *,
    inputs: Inputs = NO_INPUTS,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
    seed: int | None = None,
    sampler: str | None = None,
    height: int | None = None,
    width: int | None = None,
    num_images_per_prompt: int = 1,
    schedule: str | None = None,
    spacing: str | None = None,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    sampler_options: Mapping[str, Scalar] | None = None,
) -> Settings:
    """Checks what is asked of a bundle and fills in what is not said; loads nothing.

    Args: as of `Pipeline.__call__`.

    Raises:
        UsageError: an argument is wrong, or the bundle can't do it; says what is allowed.
        BundleError: the bundle can't make pictures from text at all.
    """
    check_able(bundle)
    task = pick_task(inputs)
    check_task(bundle, task)
    defaults = bundle.manifest.defaults
    prompts = check_prompts(prompt)
    if sampler is None:
        sampler = _default_sampler(bundle)
    choice = ScheduleChoice(schedule, spacing, sigmas, timesteps, sampler_options or {}).checked()
    steps = _steps(choice, num_inference_steps, defaults.num_inference_steps)
    plan = make_plan(bundle, sampler, steps, choice)
    timesteps_visited = [level.timestep for level in plan.levels[:-1]]
    _check_timesteps(bundle.graph("unet"), sampler, timesteps_visited)
    settings = Settings(
        prompt=prompts,
        negative_prompt=check_negative_prompts(negative_prompt, len(prompts)),
        num_inference_steps=steps,
        guidance_scale=check_guidance_scale(_given(guidance_scale, defaults.guidance_scale)),
        seed=check_seed(seed),
        sampler=sampler,
        height=_side(bundle, "height", height),
        width=_side(bundle, "width", width),
        num_images_per_prompt=check_count(
            "num_images_per_prompt", num_images_per_prompt, MAX_IMAGES
        ),
        task=task,
        **_settled(choice, plan),
    )
    load_task(task).check(bundle, settings, inputs)
    return settings


def check_able(bundle: Bundle) -> None:
    """Refuses a bundle that can't make pictures.

    Raises:
        BundleError: says what it is for, or what it lacks.
    """
    tasks = bundle.manifest.tasks
    if not set(tasks) & set(TASKS):
        raise BundleError(
            f"{bundle.path} can't make pictures; it is made for "
            f"{', '.join(tasks) or 'no task that this version of latedge knows'}."
        )
    for name in NEEDED:
        bundle.graph(name)
    if "text_encoder" not in bundle.manifest.tokenizers:
        raise BundleError(f"{bundle.path} has no tokenizer for its text encoder. Export it again.")


def pick_task(inputs: Inputs) -> str:
    """The task that a call's inputs ask for."""
    del inputs
    return "text-to-image"


def check_task(bundle: Bundle, task: str) -> None:
    """Refuses a bundle that is not made for a task.

    Raises:
        BundleError: says what it is made for.
    """
    if task not in bundle.manifest.tasks:
        raise BundleError(
            f"{bundle.path} can't do {task}; it is made for {', '.join(bundle.manifest.tasks)}."
        )


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


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
    steps = check_count("num_inference_steps", _given(asked, given or default), MAX_STEPS)
    if given:
        check_given_count("timesteps" if choice.timesteps else "sigmas", given, steps)
    return steps


class _Settled(TypedDict):
    schedule: str | None
    spacing: str | None
    sigmas: tuple[float, ...] | None
    timesteps: tuple[float, ...] | None
    sampler_options: dict[str, Scalar]


def _settled(choice: ScheduleChoice, plan: Plan) -> _Settled:
    """What was said of the schedule, with the scheduler config's word where nothing was."""
    rule = str(getattr(plan.sampler, "sigma_rule", "interpolated"))
    schedule = choice.schedule or ("plain" if rule == "interpolated" else rule)
    spacing = getattr(plan.sampler, "timestep_spacing", None)
    said = {*SIGMA_FLAGS, "timestep_spacing"}  # which the two above say now
    given = choice.sigmas is not None or choice.timesteps is not None
    return {
        "schedule": None if given else schedule,
        "spacing": None if given or schedule == "ays" else spacing,
        "sigmas": None if choice.sigmas is None else tuple(choice.sigmas),
        "timesteps": None if choice.timesteps is None else tuple(choice.timesteps),
        "sampler_options": {k: v for k, v in choice.sampler_options.items() if k not in said},
    }


def _side(bundle: Bundle, name: Literal["height", "width"], given: int | None) -> int:
    manifest, built = bundle.manifest, built_side(bundle, name)
    default = getattr(manifest.defaults, name) if built is None else built
    return check_side(name, _given(given, default), manifest.latents.vae_factor, built)


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
