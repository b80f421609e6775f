"""What each sampler takes from a bundle's scheduler_config.json, whichever class wrote it.

As diffusers' `SchedulerClass.from_config(other.config)`: fields the class knows are kept, fields
it doesn't know are dropped, fields that are absent have the class's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from runtimes.errors import UsageError

Options = Mapping[str, object]
"""Option → its default, or a tuple of the values that run, the default first.

Names and defaults are those of the diffusers class that a sampler follows. An option is listed
though one value alone runs, so that another is refused and not overlooked.
"""

# The options of diffusers' classes that say how sigmas are made; they exclude each other.
SIGMA_OPTIONS = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "use_lu_lambdas",
    "use_flow_sigmas",
)


def resolve(
    sampler: str,
    rows: Options,
    config: Mapping[str, object],
    *,
    karras: bool | None = None,
) -> dict[str, object]:
    """The options of a sampler under a scheduler config.

    Args:
        sampler: its name, for messages.
        rows: its own options.
        config: the content of a scheduler_config.json.
        karras: Karras sigmas or none, over what the config says; None leaves it to the config.

    Returns:
        A value for each option of the sampler.

    Raises:
        UsageError: an option has a value that doesn't run, or the sampler has no Karras sigmas.
    """
    if karras and "use_karras_sigmas" not in rows:
        raise UsageError(f"sampler {sampler!r} has no Karras sigmas; euler and dpmpp-2m have")
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
