"""Checks what is asked of guidance, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, cast

from runtimes.bundle import Bundle
from runtimes.checks import check_guidance_scale, check_number
from runtimes.errors import UsageError
from runtimes.guidance.embedding import guides_itself
from runtimes.guidance.image_guided import settle_image_scale
from runtimes.guidance.interval import WHOLE, Interval, guided_calls
from runtimes.options import GuidanceOptions
from runtimes.settings import Settings


class GuidanceChanges(TypedDict):
    """The fields of `Settings` that `check_guidance` settles."""

    guidance_rescale: float
    guidance_interval: Interval
    perp_neg: bool
    negative_weight: float


class GuidanceFields(GuidanceChanges):
    """The fields of `Settings` that `settle_guidance` settles."""

    guidance_scale: float
    guidance_embedded: bool
    image_guidance_scale: float | None


def settle_guidance(
    bundle: Bundle, task: str, options: GuidanceOptions, *, negative: bool
) -> GuidanceFields:
    """Checks what is asked of guidance; its scale is the bundle's where none is given.

    Args:
        bundle: whose U-Net is guided, or guides itself.
        task: that was picked.
        options: of the call.
        negative: whether there is a negative prompt, or embeddings of one.

    Raises:
        UsageError: a value is out of range, or an option has nothing to work on.
    """
    asked, embedded = options.get("guidance_scale"), guides_itself(bundle)
    scale = check_guidance_scale(
        bundle.manifest.defaults.guidance_scale if asked is None else asked
    )
    changes = check_guidance(options, scale, embedded=embedded, negative=negative)
    return {
        "guidance_scale": scale,
        "guidance_embedded": embedded,
        "image_guidance_scale": settle_image_scale(
            task, options, embedded=embedded, perp_neg=changes["perp_neg"]
        ),
        **changes,
    }


def check_guidance(
    options: GuidanceOptions, scale: float, *, embedded: bool, negative: bool
) -> GuidanceChanges:
    """Checks the options of guidance against each other.

    Args:
        options: what was asked; the scale is not read.
        scale: guidance_scale, checked.
        embedded: whether the U-Net is told the scale, and guides itself.
        negative: whether there is a negative prompt, or embeddings of one.

    Raises:
        UsageError: a value is out of range, or an option has nothing to work on.
    """
    fields = GuidanceChanges(
        guidance_rescale=_share(options.get("guidance_rescale")),
        guidance_interval=_interval(options.get("guidance_interval")),
        perp_neg=_flag(options.get("perp_neg")),
        negative_weight=_weight(options.get("negative_weight")),
    )
    for name in _at_work(fields):
        if embedded:
            raise UsageError(
                f"{name} needs two calls of the U-Net to work on, but this bundle's U-Net guides "
                "itself in one: it takes the guidance scale as an input. Leave it away."
            )
        if scale <= 1:
            raise UsageError(
                f"{name} needs guidance, which guidance_scale {scale:g} turns off; give a "
                "guidance_scale above 1."
            )
    if options.get("negative_weight") is not None and not fields["perp_neg"]:
        raise UsageError("negative_weight is an option of perp_neg, which is off; turn it on.")
    if fields["perp_neg"] and not negative:
        raise UsageError("perp_neg needs a negative prompt to lead away from; give one.")
    return fields


def check_guided_calls(settings: Settings, calls: int) -> None:
    """Refuses an interval within which no call of the network lies.

    Args:
        settings: of a call of the pipeline.
        calls: of the network that its sampler makes.

    Raises:
        UsageError: says how many calls there are.
    """
    if settings.guided and not guided_calls(settings.guidance_interval, calls):
        start, stop = settings.guidance_interval
        raise UsageError(
            f"guidance_interval ({start:g}, {stop:g}) holds none of the U-Net's {calls} calls; "
            "widen it, or give a guidance_scale of 1."
        )


def _at_work(fields: GuidanceChanges) -> list[str]:
    """The options that change guidance."""
    found = {
        "guidance_rescale": fields["guidance_rescale"] > 0,
        "guidance_interval": fields["guidance_interval"] != WHOLE,
        "perp_neg": fields["perp_neg"],
    }
    return [name for name, changes in found.items() if changes]


def _share(value: float | None) -> float:
    share = 0.0 if value is None else check_number("guidance_rescale", value)
    if not 0 <= share <= 1:
        raise UsageError(f"guidance_rescale must be from 0 (off) to 1, not {share:g}.")
    return share


def _interval(value: object) -> Interval:
    if value is None:
        return WHOLE
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise UsageError(_not_an_interval(value))
    ends = tuple(
        check_number("guidance_interval's ends", end) for end in cast("Sequence[object]", value)
    )
    if len(ends) != 2 or not 0 <= ends[0] < ends[1] <= 1:
        raise UsageError(_not_an_interval(ends))
    return ends


def _not_an_interval(value: object) -> str:
    return (
        "guidance_interval must be where guidance starts and where it stops, two rising numbers "
        f"from 0 to 1 such as (0.1, 0.8), not {value!r}."
    )


def _flag(value: object) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise UsageError(f"perp_neg must be True or False, not {value!r}.")
    return value


def _weight(value: float | None) -> float:
    weight = 1.0 if value is None else check_number("negative_weight", value)
    if weight < 0:
        raise UsageError(f"negative_weight must be 0 or more, not {weight:g}.")
    return weight
