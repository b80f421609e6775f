"""Checks what is asked of a bundle and fills in what is not said, before any slow work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

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
from runtimes.samplers import make_sampler, noise_schedule, options_of, sampler_names
from runtimes.samplers.options import resolve
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
    karras: bool | None = None,
    height: int | None = None,
    width: int | None = None,
    num_images_per_prompt: int = 1,
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
    defaults, config = bundle.manifest.defaults, bundle.scheduler_config
    prompts = check_prompts(prompt)
    name = _given(sampler, defaults.sampler)
    steps = _given(num_inference_steps, defaults.num_inference_steps)
    steps = check_count("num_inference_steps", steps, MAX_STEPS)
    levels = make_sampler(name, config, karras=karras).levels(noise_schedule(name, config), steps)
    _check_timesteps(bundle.graph("unet"), name, [level.timestep for level in levels[:-1]])
    settings = Settings(
        prompt=prompts,
        negative_prompt=check_negative_prompts(negative_prompt, len(prompts)),
        num_inference_steps=steps,
        guidance_scale=check_guidance_scale(_given(guidance_scale, defaults.guidance_scale)),
        seed=check_seed(seed),
        sampler=name,
        karras=_uses_karras(name, config, karras),
        height=_side(bundle, "height", height),
        width=_side(bundle, "width", width),
        num_images_per_prompt=check_count(
            "num_images_per_prompt", num_images_per_prompt, MAX_IMAGES
        ),
        task=task,
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


def _uses_karras(sampler: str, config: Mapping[str, object], asked: bool | None) -> bool:
    # A third party's sampler has no such option.
    rows = options_of(sampler)
    options = {} if rows is None else resolve(sampler, rows, config, karras=asked)
    return bool(options.get("use_karras_sigmas"))


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
