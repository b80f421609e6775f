"""Samplers: the table of their names, and how one is made from a bundle's scheduler config."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import msgspec

from runtimes import registry
from runtimes.denoiser import EDM_CLASSES
from runtimes.errors import UsageError, unknown_name
from runtimes.samplers.choice import Scalar, ScheduleChoice, check_taken, over
from runtimes.samplers.config_fields import check_fields
from runtimes.samplers.options import Options, default_of, resolve, sigma_rule, source_of
from runtimes.samplers.sampler import Denoise, Latents, Noise, Run, Sampler, Step
from runtimes.samplers.scheduler_classes import NEAREST, OTHER_LAWS, SAME_AS
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
    name: str,
    scheduler_config: Mapping[str, object],
    *,
    schedule: str | None = None,
    spacing: str | None = None,
    sigmas: Sequence[float] | None = None,
    timesteps: Sequence[float] | None = None,
    sampler_options: Mapping[str, Scalar] | None = None,
) -> Sampler:
    """A sampler with the options of a bundle's scheduler config.

    Args:
        name: a key of `SAMPLERS`.
        scheduler_config: the content of the bundle's scheduler_config.json, written by whichever
            diffusers class.
        schedule: "plain" or a sigma rule, over what the config says; None leaves it to the config.
            The aligned steps ("ays") hang on the model's family: see `runtimes.plan`.
        spacing: which timesteps are visited, likewise.
        sigmas: of all steps, descending, and the one where the last step ends.
        timesteps: of all steps, descending.
        sampler_options: over the config's fields, as diffusers' `from_config(config, **options)`;
            also fields of the sampler that are no diffusers class's, such as eta.

    Raises:
        UsageError: the sampler is unknown, what is asked for conflicts, the sampler can't do it,
            or it can't run with the config.
    """
    sampler = load_sampler(name)
    rows, taken = options_of(name), fields_of(sampler)
    choice = ScheduleChoice(schedule, spacing, sigmas, timesteps, sampler_options or {}).checked()
    if choice.schedule == "ays":
        raise UsageError(
            "schedule 'ays' is a table of the model's family, which a scheduler config doesn't "
            "tell; see runtimes.plan"
        )
    if rows is not None:
        _check_law(name, rows, scheduler_config)
    check_taken(name, rows, taken, choice)
    check_fields(scheduler_config, () if rows is not None else taken)
    config = over(scheduler_config, choice)
    said = choice.sampler_options
    options = dict(config) if rows is None else resolve(name, rows, config, said)
    options |= said
    rule = sigma_rule(options)
    options |= {
        "sigma_rule": rule if choice.schedule in (None, "plain") else choice.schedule,
        # A squared-cosine schedule keeps Karras timesteps unrounded, in the reference.
        "round_timesteps": options.get("beta_schedule") != "squaredcos_cap_v2",
        "sigmas": choice.sigmas,
        "timesteps": choice.timesteps,
    }
    return _build(sampler, {key: options[key] for key in options if key in taken}, said)


def options_of(name: str) -> Options | None:
    """The options of a sampler; None for a third party's, which takes any field it has."""
    return cast("Options", cast("Any", load_sampler(name)).OPTIONS) if name in SAMPLERS else None


def fields_of(sampler: type[Sampler]) -> frozenset[str]:
    """What a sampler's constructor takes."""
    return frozenset(inspect.signature(sampler).parameters)


def noise_schedule(name: str, scheduler_config: Mapping[str, object]) -> NoiseSchedule:
    """The noise schedule that a sampler follows under a scheduler config.

    Betas that the config doesn't give have the defaults of the sampler's diffusers class, which
    are not the same in all of them.

    Raises:
        UsageError: the sampler is unknown, or the config's noise schedule is wrong.
    """
    rows = options_of(name) or {}
    betas = ("beta_start", "beta_end", "beta_schedule")
    own = {field: default_of(rows[field]) for field in betas if field in rows}
    return NoiseSchedule.from_config({**own, **scheduler_config})


def _check_law(name: str, rows: Options, config: Mapping[str, object]) -> None:
    """Refuses configs whose networks know other noise than the sampler gives them.

    The reference's `from_config` drops what says so, and would draw garbage.
    """
    class_name = str(config.get("_class_name"))
    if class_name in EDM_CLASSES:
        if "_class_name" not in rows:
            raise UsageError(
                f"scheduler_config.json: _class_name is {class_name!r}, whose networks have EDM's "
                f"preconditioning, which sampler {name!r} doesn't know; take 'edm-euler'"
            )
    elif class_name in OTHER_LAWS:
        raise _another_law("_class_name", class_name, name)
    elif config.get("use_flow_sigmas"):
        raise _another_law("use_flow_sigmas", True, name)
    elif config.get("prediction_type") == "flow_prediction":
        raise _another_law("prediction_type", "flow_prediction", name)


def _another_law(field: str, value: object, sampler: str) -> UsageError:
    return UsageError(
        f"scheduler_config.json: {field} is {value!r}, whose networks know noise of another law "
        f"than sampler {sampler!r} and all others here give them; this bundle can't be run"
    )


def _build(sampler: type[Sampler], options: dict[str, object], said: Collection[str]) -> Sampler:
    try:
        return msgspec.convert(options, sampler)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`")
        raise UsageError(f"{source_of(name, said)}: {error}") from error


def default_sampler(scheduler_config: Mapping[str, object]) -> str:
    """The name of the sampler that follows the class a scheduler config was written for.

    Raises:
        UsageError: no sampler here follows that class, or the class in that configuration, or the
            config has a field that no scheduler has.
    """
    check_fields(scheduler_config)
    class_name = str(scheduler_config.get("_class_name", "none"))
    class_name = SAME_AS.get(class_name, class_name)
    if class_name in NEAREST:
        raise UsageError(
            f"scheduler_config.json: no sampler follows {class_name}; the nearest is "
            f"{NEAREST[class_name]!r}. Name a sampler: {', '.join(SAMPLERS)}."
        )
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
