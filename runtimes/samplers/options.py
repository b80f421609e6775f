"""What each sampler takes from a bundle's scheduler_config.json, whichever class wrote it.

As diffusers' `SchedulerClass.from_config(other.config)`: fields the class knows are kept, fields
it doesn't know are dropped, fields that are absent have the class's own default.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

from runtimes.errors import UsageError

# Sampler → option → its default, or a tuple of the values that run, the default first. Names and
# defaults are those of the diffusers class. An option is listed though one value alone runs, so
# that another is refused and not overlooked.
OPTIONS: dict[str, dict[str, object]] = {
    "ddim": {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": 0,
        "set_alpha_to_one": (True, False),
        "clip_sample": (True, False),
        "clip_sample_range": 1.0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False,),
    },
    "pndm": {
        "timestep_spacing": ("leading", "linspace", "trailing"),
        "steps_offset": 0,
        "set_alpha_to_one": (False, True),
        "skip_prk_steps": (False, True),
        "prediction_type": ("epsilon", "v_prediction"),
        # The class doesn't know the field; but the first step divides by alpha, which would be 0.
        "rescale_betas_zero_snr": (False,),
    },
    "euler": {
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "interpolation_type": ("linear",),
        "timestep_type": ("discrete",),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False,),
        "use_beta_sigmas": (False,),
        "sigma_min": None,
        "sigma_max": None,
        "final_sigmas_type": ("zero", "sigma_min"),
    },
    "dpmpp-2m": {
        "timestep_spacing": ("linspace", "leading", "trailing"),
        "steps_offset": 0,
        "prediction_type": ("epsilon", "sample", "v_prediction"),
        "thresholding": (False,),
        # The class takes the last three, other classes' own, as "midpoint".
        "solver_type": ("midpoint", "bh1", "bh2", "logrho"),
        "lower_order_final": (True, False),
        "euler_at_final": (False, True),
        "use_karras_sigmas": (False, True),
        "use_exponential_sigmas": (False,),
        "use_beta_sigmas": (False,),
        "use_lu_lambdas": (False,),
        "use_flow_sigmas": (False,),
        "use_dynamic_shifting": (False,),
        # Not among the class's fields, but it reads what an Euler config leaves it.
        "sigma_min": None,
        "sigma_max": None,
        "final_sigmas_type": ("zero", "sigma_min"),
        "lambda_min_clipped": (-math.inf,),
        # A DDPM config's fixed variances don't matter here; a learned one changes the network.
        "variance_type": (None, "fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"),
        "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    },
}

# The options of diffusers' classes that say how sigmas are made; they exclude each other.
SIGMA_OPTIONS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)


def resolve(
    sampler: str, config: Mapping[str, object], *, karras: bool | None = None
) -> dict[str, object]:
    """The options of a sampler under a scheduler config.

    Args:
        sampler: a key of `OPTIONS`.
        config: the content of a scheduler_config.json.
        karras: Karras sigmas or none, over what the config says; None leaves it to the config.

    Returns:
        A value for each option of the sampler.

    Raises:
        UsageError: an option has a value that doesn't run, or the sampler has no Karras sigmas.
    """
    rows = OPTIONS[sampler]
    if karras and "use_karras_sigmas" not in rows:
        able = " and ".join(name for name, row in OPTIONS.items() if "use_karras_sigmas" in row)
        raise UsageError(f"sampler {sampler!r} has no Karras sigmas; {able} have")
    if karras is not None:
        config = {**config, **dict.fromkeys(SIGMA_OPTIONS, False), "use_karras_sigmas": karras}
    return {name: _value(sampler, name, row, config) for name, row in rows.items()}


def _value(sampler: str, name: str, row: object, config: Mapping[str, object]) -> object:
    if not isinstance(row, tuple):
        return config.get(name, row)
    known = cast("tuple[object, ...]", row)
    value = config.get(name, known[0])
    if value not in known:
        runs = ", ".join(map(repr, known))
        raise UsageError(
            f"scheduler_config.json: {name} is {value!r}; sampler {sampler!r} runs with {runs}"
        )
    return value
