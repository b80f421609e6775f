"""The network as a call's settings guide it."""

from __future__ import annotations

from dataclasses import dataclass

from runtimes.guidance.classifier_free import classifier_free
from runtimes.guidance.condition import Condition, Halves, Network, Predict, alone
from runtimes.guidance.image_guided import image_guided
from runtimes.guidance.interval import within
from runtimes.guidance.perp_neg import perp_neg
from runtimes.settings import Settings


@dataclass(frozen=True)
class Branches:
    """The conditions of a call, alike in shapes.

    Attributes:
        cond: of the prompts.
        uncond: of the negative prompts; None without guidance.
        empty: of the empty prompt; None unless Perp-Neg takes it.
    """

    cond: Condition
    uncond: Condition | None = None
    empty: Condition | None = None


def guided_network(
    predict: Predict,
    branches: Branches,
    settings: Settings,
    *,
    calls: int,
    halves: Halves,
    before: int = 0,
) -> Network:
    """The network for one run of a sampler.

    Args:
        predict: the network.
        branches: those that the settings need.
        settings: say how it is guided.
        calls: calls that are made in all.
        halves: one call of a multiple of the batch, or a call for each branch. Where guidance has
            an interval, calls outside it are of the prompts alone; that saves no time with a graph
            that was built for a larger batch than the pictures fill.
        before: how many of the calls another network made before.
    """
    plain = alone(predict, branches.cond)
    if not settings.guided:
        return plain
    guided = _guided(predict, branches, settings, halves)
    return within(settings.guidance_interval, calls, guided, plain, before=before)


def _guided(predict: Predict, branches: Branches, settings: Settings, halves: Halves) -> Network:
    scale, share = settings.guidance_scale, settings.guidance_rescale
    cond, uncond, empty = branches.cond, branches.uncond, branches.empty
    if settings.image_guidance_scale is not None:
        assert uncond is not None
        return image_guided(
            predict,
            cond,
            uncond,
            scale,
            settings.image_guidance_scale,
            halves=halves,
            guidance_rescale=share,
        )
    if not settings.perp_neg:
        return classifier_free(predict, cond, uncond, scale, halves=halves, guidance_rescale=share)
    assert uncond is not None
    assert empty is not None
    return perp_neg(
        predict,
        cond,
        uncond,
        empty,
        scale,
        settings.negative_weight,
        halves=halves,
        guidance_rescale=share,
    )
