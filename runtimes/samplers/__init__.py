"""Samplers: the table of their names, and how one is made from a bundle's scheduler config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec

from runtimes import registry
from runtimes.denoiser import EDM_CLASSES
from runtimes.errors import UsageError, unknown_name
from runtimes.samplers.options import Options, resolve
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Sampler, Step
from runtimes.schedule import NoiseSchedule

__all__ = [
    "SAMPLERS",
    "Denoise",
    "Latents",
    "Noise",
    "Run",
    "Sampler",
    "Step",
    "default_sampler",
    "fitting_samplers",
    "load_sampler",
    "make_sampler",
    "noise_schedule",
    "sampler_names",
]

SAMPLERS: dict[str, str] = {
    "ddim": "runtimes.samplers.ddim:DDIM",
    "dpm2": "runtimes.samplers.dpm2:DPM2",
    "dpm2-a": "runtimes.samplers.dpm2_a:DPM2Ancestral",
    "dpmpp-2m": "runtimes.samplers.dpmpp_2m:DpmPP2M",
    "dpmpp-sde": "runtimes.samplers.dpmpp_sde:DpmPPSDE",
    "edm-euler": "runtimes.samplers.edm_euler:EDMEuler",
    "euler": "runtimes.samplers.euler:Euler",
    "euler-a": "runtimes.samplers.euler_a:EulerAncestral",
    "heun": "runtimes.samplers.heun:Heun",
    "lms": "runtimes.samplers.lms:LMS",
    "pndm": "runtimes.samplers.pndm:PNDM",
}
"""Sampler name → class. Third parties register theirs in the entry-point group below."""

ENTRY_POINTS = "latedge.samplers"

SCHEDULER_CLASSES: dict[str, str] = {
    "DDIMScheduler": "ddim",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "DPMSolverSDEScheduler": "dpmpp-sde",
    "EDMEulerScheduler": "edm-euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "EulerDiscreteScheduler": "euler",
    "HeunDiscreteScheduler": "heun",
    "KDPM2AncestralDiscreteScheduler": "dpm2-a",
    "KDPM2DiscreteScheduler": "dpm2",
    "LMSDiscreteScheduler": "lms",
    "PNDMScheduler": "pndm",
}
"""diffusers' class, as a scheduler_config.json names it → the sampler that follows it."""


def load_sampler(name: str) -> type[Sampler]:
    """The class behind a sampler's name.

    Raises:
        UsageError: no such sampler; lists the known ones and the closest.
    """
    return cast("type[Sampler]", registry.load("sampler", name, SAMPLERS, ENTRY_POINTS))


def sampler_names() -> tuple[str, ...]:
    """The names of all samplers, third parties' included."""
    return registry.names(SAMPLERS, ENTRY_POINTS)


def fitting_samplers(scheduler_config: Mapping[str, object]) -> tuple[str, ...]:
    """The names of the samplers that run with a scheduler config."""
    return tuple(name for name in sampler_names() if _fits(name, scheduler_config))


def _fits(name: str, scheduler_config: Mapping[str, object]) -> bool:
    try:
        make_sampler(name, scheduler_config)
    except UsageError:
        return False
    return True


def make_sampler(
    name: str, scheduler_config: Mapping[str, object], *, karras: bool | None = None
) -> Sampler:
    """A sampler with the options of a bundle's scheduler config.

    Args:
        name: a key of `SAMPLERS`.
        scheduler_config: the content of the bundle's scheduler_config.json, written by whichever
            diffusers class.
        karras: Karras sigmas or none, over what the config says; None leaves it to the config.

    Raises:
        UsageError: the sampler is unknown, or can't run with the config.
    """
    sampler = load_sampler(name)
    rows = options_of(name)
    if rows is None:
        return _build(sampler, dict(scheduler_config))
    _check_preconditioning(name, rows, scheduler_config)
    options = resolve(name, rows, scheduler_config, karras=karras)
    rules = {"use_karras_sigmas": "karras", "use_exponential_sigmas": "exponential"}
    rules["use_beta_sigmas"] = "beta"
    asked = [rule for flag, rule in rules.items() if options.get(flag)]
    options["sigma_rule"] = asked[0] if asked else "interpolated"
    # A squared-cosine schedule keeps Karras timesteps unrounded, in the reference.
    options["round_timesteps"] = options.get("beta_schedule") != "squaredcos_cap_v2"
    return _build(sampler, options)


def options_of(name: str) -> Options | None:
    """The options of a sampler; None for a third party's, which takes any field it has."""
    return cast("Options", vars(load_sampler(name))["OPTIONS"]) if name in SAMPLERS else None


def noise_schedule(name: str, scheduler_config: Mapping[str, object]) -> NoiseSchedule:
    """The noise schedule that a sampler follows under a scheduler config.

    Betas that the config doesn't give have the defaults of the sampler's diffusers class, which
    are not the same in all of them.

    Raises:
        UsageError: the sampler is unknown, or the config's noise schedule is wrong.
    """
    rows = options_of(name) or {}
    own = {field: rows[field] for field in ("beta_start", "beta_end") if field in rows}
    return NoiseSchedule.from_config({**own, **scheduler_config})


def _check_preconditioning(name: str, rows: Options, config: Mapping[str, object]) -> None:
    class_name = config.get("_class_name")
    if class_name in EDM_CLASSES and "_class_name" not in rows:
        raise UsageError(
            f"scheduler_config.json: _class_name is {class_name!r}, whose networks have EDM's "
            f"preconditioning, which sampler {name!r} doesn't know; take 'edm-euler'"
        )


def _build(sampler: type[Sampler], options: dict[str, object]) -> Sampler:
    try:
        return msgspec.convert(options, sampler)
    except msgspec.ValidationError as error:
        raise UsageError(f"scheduler_config.json: {error}") from error


def default_sampler(scheduler_config: Mapping[str, object]) -> str:
    """The name of the sampler that follows the class a scheduler config was written for.

    Raises:
        UsageError: no sampler here follows that class, or the class in that configuration.
    """
    class_name = str(scheduler_config.get("_class_name", "none"))
    if class_name not in SCHEDULER_CLASSES:
        error = unknown_name("scheduler class", class_name, SCHEDULER_CLASSES)
        raise UsageError(f"scheduler_config.json: {error} Name a sampler: {', '.join(SAMPLERS)}.")
    name = SCHEDULER_CLASSES[class_name]
    if name == "dpmpp-2m":
        _check_second_order(scheduler_config)
    return name


def _check_second_order(config: Mapping[str, object]) -> None:
    order = config.get("solver_order", 2)
    algorithm = config.get("algorithm_type", "dpmsolver++")
    # The class takes "deis", DEISMultistepScheduler's own, as "dpmsolver++".
    if order != 2 or algorithm not in ("dpmsolver++", "deis"):
        raise UsageError(
            f"scheduler_config.json: algorithm_type {algorithm!r} of solver_order {order} has no "
            f"sampler; the nearest is 'dpmpp-2m'; name a sampler: {', '.join(SAMPLERS)}"
        )
