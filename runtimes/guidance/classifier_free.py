"""Classifier-free guidance: J. Ho and T. Salimans, "Classifier-Free Diffusion Guidance", 2022."""

from __future__ import annotations

from runtimes.checks import check_guidance_scale
from runtimes.denoiser import Latents
from runtimes.errors import UsageError
from runtimes.guidance.condition import Condition, Halves, Network, Predict, alone, of_branches
from runtimes.guidance.rescale import rescale


def guide(uncond: Latents, cond: Latents, scale: float) -> Latents:
    """The unconditional output moved `scale` times as far as to the conditional one."""
    moved = cond - uncond
    moved *= scale
    moved += uncond
    return moved


def classifier_free(
    predict: Predict,
    cond: Condition,
    uncond: Condition | None,
    scale: float,
    *,
    halves: Halves,
    guidance_rescale: float = 0.0,
) -> Network:
    """A network with its condition bound, guided where the scale asks for it.

    Args:
        predict: the network.
        cond: condition of the prompts.
        uncond: condition of the negative prompts, alike in shapes; None for no guidance.
        scale: guidance_scale. At 1 and at 0 there is no guidance and one call of the network, as
            in diffusers.
        halves: one call of twice the batch, the unconditional half first, or two calls; as the
            engine was built for.
        guidance_rescale: how far the result is brought to the conditional output's standard
            deviation, 0 to 1.

    Returns:
        (model_input, timestep) → output.

    Raises:
        UsageError: the scale isn't finite or is below 1 and not 0, or asks for guidance that
            `uncond` doesn't allow.
    """
    if check_guidance_scale(scale) <= 1:
        return alone(predict, cond)
    if uncond is None or uncond.context.shape != cond.context.shape:
        given = "none" if uncond is None else f"one of shape {uncond.context.shape}"
        raise UsageError(
            f"guidance_scale {scale} needs a negative context of shape {cond.context.shape}, given "
            f"{given}; give one (an empty prompt's) or a guidance_scale of 1"
        )

    def combine(without: Latents, towards: Latents) -> Latents:
        return rescale(guide(without, towards, scale), towards, guidance_rescale)

    return of_branches(predict, [uncond, cond], combine, halves=halves)
