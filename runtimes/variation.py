"""The seeds of a call: its own, and one whose noise is mixed in for a picture near to it."""

from __future__ import annotations

from typing import TypedDict

from runtimes.checks import check_seed, check_share
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.options import NoiseOptions


class NoiseFields(TypedDict):
    """The fields of `Settings` that `settle_noise` settles."""

    seed: int
    variation_seed: int | None
    variation_strength: float


def settle_noise(inputs: Inputs, options: NoiseOptions) -> NoiseFields:
    """Checks the seeds of a call, and draws those that are asked for and absent.

    Raises:
        UsageError: a value is out of range, or goes with something that wasn't given.
    """
    seed, share = _variation(
        inputs, options.get("variation_seed"), options.get("variation_strength")
    )
    return {
        "seed": check_seed(options.get("seed")),
        "variation_seed": seed,
        "variation_strength": share,
    }


def _variation(
    inputs: Inputs, seed: int | None, strength: float | None
) -> tuple[int | None, float]:
    if strength is None:
        if seed is not None:
            raise UsageError(
                f"variation_seed {seed} needs a variation_strength: from 0, the seed's own "
                "picture, to 1, the variation_seed's."
            )
        return None, 0.0
    share = check_share("variation_strength", strength)
    if inputs.latents is not None:
        raise UsageError(
            "variation_strength mixes the noise of two seeds, but latents were given in their "
            "place; mix those yourself with latedge.slerp, or leave them out."
        )
    found = check_seed(seed, "variation_seed")
    # At 0 it plays no part: not in the picture, and not in what the picture says of itself.
    return (found, share) if share else (None, 0.0)
