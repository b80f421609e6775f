"""Samplers: the table of their names, and how one is made from a bundle's scheduler config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from runtimes import registry
from runtimes.errors import UsageError, unknown_name
from runtimes.samplers.options import Options, resolve
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Sampler, Step
from runtimes.schedule import SigmaRule

__all__ = [
    "SAMPLERS",
    "Denoise",
    "Latents",
    "Noise",
    "Run",
    "Sampler",
    "Step",
    "default_sampler",
    "load_sampler",
    "make_sampler",
    "sampler_names",
]

SAMPLERS: dict[str, str] = {
    "ddim": "runtimes.samplers.ddim:DDIM",
    "ddpm": "runtimes.samplers.ddpm:DDPM",
    "deis": "runtimes.samplers.deis:DEIS",
    "dpm-1m": "runtimes.samplers.dpm_2m:Dpm1M",
    "dpm-1m-sde": "runtimes.samplers.dpm_2m:Dpm1MSde",
    "dpm-1s": "runtimes.samplers.dpm_2s:Dpm1S",
    "dpm-2m": "runtimes.samplers.dpm_2m:Dpm2M",
    "dpm-2m-sde": "runtimes.samplers.dpm_2m:Dpm2MSde",
    "dpm-2s": "runtimes.samplers.dpm_2s:Dpm2S",
    "dpm-3m": "runtimes.samplers.dpm_2m:Dpm3M",
    "dpm-3s": "runtimes.samplers.dpm_2s:Dpm3S",
    "dpm2": "runtimes.samplers.dpm2:DPM2",
    "dpm2-a": "runtimes.samplers.dpm2_a:DPM2Ancestral",
    "dpmpp-1m": "runtimes.samplers.dpmpp_2m:DpmPP1M",
    "dpmpp-1m-sde": "runtimes.samplers.dpmpp_2m_sde:DpmPP1MSde",
    "dpmpp-1s": "runtimes.samplers.dpmpp_2s:DpmPP1S",
    "dpmpp-1s-sde": "runtimes.samplers.dpmpp_2s_sde:DpmPP1SSde",
    "dpmpp-2m": "runtimes.samplers.dpmpp_2m:DpmPP2M",
    "dpmpp-2m-sde": "runtimes.samplers.dpmpp_2m_sde:DpmPP2MSde",
    "dpmpp-2s": "runtimes.samplers.dpmpp_2s:DpmPP2S",
    "dpmpp-2s-sde": "runtimes.samplers.dpmpp_2s_sde:DpmPP2SSde",
    "dpmpp-3m": "runtimes.samplers.dpmpp_2m:DpmPP3M",
    "dpmpp-3m-sde": "runtimes.samplers.dpmpp_2m_sde:DpmPP3MSde",
    "dpmpp-3s": "runtimes.samplers.dpmpp_2s:DpmPP3S",
    "dpmpp-3s-sde": "runtimes.samplers.dpmpp_2s_sde:DpmPP3SSde",
    "dpmpp-sde": "runtimes.samplers.dpmpp_sde:DpmPPSDE",
    "edm-euler": "runtimes.samplers.edm_euler:EDMEuler",
    "euler": "runtimes.samplers.euler:Euler",
    "euler-a": "runtimes.samplers.euler_a:EulerAncestral",
    "heun": "runtimes.samplers.heun:Heun",
    "lcm": "runtimes.samplers.lcm:LCM",
    "lms": "runtimes.samplers.lms:LMS",
    "pndm": "runtimes.samplers.pndm:PNDM",
    "tcd": "runtimes.samplers.tcd:TCD",
    "unipc": "runtimes.samplers.unipc:UniPC",
}
"""Sampler name → class. Third parties register theirs in the entry-point group below."""

ENTRY_POINTS = "latedge.samplers"

SCHEDULER_CLASSES: dict[str, str] = {
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "DEISMultistepScheduler": "deis",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "DPMSolverSDEScheduler": "dpmpp-sde",
    "DPMSolverSinglestepScheduler": "dpmpp-2s",
    "EDMEulerScheduler": "edm-euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "EulerDiscreteScheduler": "euler",
    "HeunDiscreteScheduler": "heun",
    "KDPM2AncestralDiscreteScheduler": "dpm2-a",
    "KDPM2DiscreteScheduler": "dpm2",
    "LCMScheduler": "lcm",
    "LMSDiscreteScheduler": "lms",
    "PNDMScheduler": "pndm",
    "TCDScheduler": "tcd",
    "UniPCMultistepScheduler": "unipc",
}
"""diffusers' class, as a scheduler_config.json names it → the sampler that follows it."""


SOLVERS: dict[str, dict[tuple[object, object], str]] = {
    "DPMSolverMultistepScheduler": {
        ("dpmsolver++", 1): "dpmpp-1m",
        ("dpmsolver++", 2): "dpmpp-2m",
        ("dpmsolver++", 3): "dpmpp-3m",
        ("sde-dpmsolver++", 1): "dpmpp-1m-sde",
        ("sde-dpmsolver++", 2): "dpmpp-2m-sde",
        ("sde-dpmsolver++", 3): "dpmpp-3m-sde",
        ("dpmsolver", 1): "dpm-1m",
        ("dpmsolver", 2): "dpm-2m",
        ("dpmsolver", 3): "dpm-3m",
        ("sde-dpmsolver", 1): "dpm-1m-sde",
        ("sde-dpmsolver", 2): "dpm-2m-sde",
    },
    "DPMSolverSinglestepScheduler": {
        ("dpmsolver++", 1): "dpmpp-1s",
        ("dpmsolver++", 2): "dpmpp-2s",
        ("dpmsolver++", 3): "dpmpp-3s",
        ("sde-dpmsolver++", 1): "dpmpp-1s-sde",
        ("sde-dpmsolver++", 2): "dpmpp-2s-sde",
        ("sde-dpmsolver++", 3): "dpmpp-3s-sde",
        ("dpmsolver", 1): "dpm-1s",
        ("dpmsolver", 2): "dpm-2s",
        ("dpmsolver", 3): "dpm-3s",
    },
}
"""The classes that follow several samplers: algorithm_type and solver_order → which."""

SIGMA_FLAGS: dict[str, SigmaRule] = {
    "use_karras_sigmas": "karras",
    "use_lu_lambdas": "lu",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
}
"""Flag of a scheduler_config.json → the rule it stands for, in the reference's precedence."""


def load_sampler(name: str) -> type[Sampler]:
    """The class behind a sampler's name.

    Raises:
        UsageError: no such sampler; lists the known ones and the closest.
    """
    return cast("type[Sampler]", registry.load("sampler", name, SAMPLERS, ENTRY_POINTS))


def sampler_names() -> tuple[str, ...]:
    """The names of all samplers, third parties' included."""
    return registry.names(SAMPLERS, ENTRY_POINTS)


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
    options = resolve(name, rows, scheduler_config, karras=karras)
    if "use_karras_sigmas" in options:
        named = (rule for flag, rule in SIGMA_FLAGS.items() if options.get(flag))
        options["sigma_rule"] = next(named, "interpolated")
    # A squared-cosine schedule keeps Karras timesteps unrounded, in the reference.
    options["round_timesteps"] = options.get("beta_schedule") != "squaredcos_cap_v2"
    return _build(sampler, options)


def options_of(name: str) -> Options | None:
    """The options of a sampler; None for a third party's, which takes any field it has."""
    return cast("Options", cast("Any", load_sampler(name)).OPTIONS) if name in SAMPLERS else None


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
    if class_name in SOLVERS:
        return _solver(class_name, scheduler_config)
    return SCHEDULER_CLASSES[class_name]


def _solver(class_name: str, config: Mapping[str, object]) -> str:
    order = config.get("solver_order", 2)
    algorithm = config.get("algorithm_type", "dpmsolver++")
    names = SOLVERS[class_name]
    # The classes take "deis", DEISMultistepScheduler's own, as "dpmsolver++".
    name = names.get(("dpmsolver++" if algorithm == "deis" else algorithm, order))
    if name is None:
        raise UsageError(
            f"scheduler_config.json: algorithm_type {algorithm!r} of solver_order {order} has no "
            f"sampler; the nearest is {SCHEDULER_CLASSES[class_name]!r}; {class_name}'s are "
            f"{', '.join(names.values())}"
        )
    return name
