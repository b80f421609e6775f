"""What each sampler takes from a bundle's scheduler_config.json, whichever class wrote it.

As diffusers' `SchedulerClass.from_config(other.config)`: fields the class knows are kept, fields
it doesn't know are dropped, fields that are absent have the class's own default.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from runtimes.denoiser import SAME_AS
from runtimes.errors import UsageError
from runtimes.schedule import SigmaRule

Options = Mapping[str, object]
"""Option → its default, or a tuple of the values that run, the default first.

Names and defaults are those of the diffusers class that a sampler follows. An option is listed
though one value alone runs, so that another is refused and not overlooked.
"""

SIGMA_FLAGS: dict[str, SigmaRule] = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
    "use_lu_lambdas": "lu",
}
"""Options of diffusers' classes that say how sigmas are made → the rule. One excludes others."""

NOISE_FIELDS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
"""Fields of every class, which `NoiseSchedule.from_config` reads."""


def default_of(row: object) -> object:
    """The default that a row of `Options` gives."""
    return cast("tuple[object, ...]", row)[0] if isinstance(row, tuple) else row


def resolve(
    sampler: str, rows: Options, config: Mapping[str, object], said: Collection[str] = ()
) -> dict[str, object]:
    """The options of a sampler under a scheduler config.

    Args:
        sampler: its name, for messages.
        rows: its own options.
        config: the content of a scheduler_config.json, a call's options over it.
        said: the names of those, for messages.

    Returns:
        A value for each option of the sampler.

    Raises:
        UsageError: an option has a value that doesn't run.
    """
    found: dict[str, object] = {}
    for name, row in rows.items():
        known = cast("tuple[object, ...]", row if isinstance(row, tuple) else (row,))
        value = config.get(name, known[0])
        if name == "prediction_type":
            value = SAME_AS.get(str(value), value)
        found[name] = value
        if isinstance(row, tuple) and value not in known:
            raise UsageError(
                f"{source_of(name, said)}: {name} is {value!r}; sampler {sampler!r} runs with "
                f"{', '.join(map(repr, known))}"
            )
    return found


def source_of(name: str, said: Collection[str]) -> str:
    """Where a value comes from, for messages.

    Args:
        name: of the option.
        said: the names that a call gave.
    """
    return "sampler options" if name in said else "scheduler_config.json"


def sigma_rule(options: Mapping[str, object]) -> SigmaRule:
    """The rule that a sampler's options ask for.

    Raises:
        UsageError: two rules at once.
    """
    asked = [flag for flag in SIGMA_FLAGS if options.get(flag)]
    if len(asked) > 1:
        raise UsageError(
            f"scheduler_config.json: {' and '.join(asked)} are both true; they exclude each other"
        )
    return SIGMA_FLAGS[asked[0]] if asked else "interpolated"
