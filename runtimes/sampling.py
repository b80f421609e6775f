"""From a checked call to its pictures: prompts, the task's start, the sampler's loop, the VAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from runtimes.component import Component, NotFiniteError
from runtimes.denoiser import Denoiser
from runtimes.engine import Array
from runtimes.guidance import Branches, Condition, Predict, guided_network
from runtimes.guidance.embedding import ROLE, embedded_width, guidance_embedding, guides_itself
from runtimes.micro_conditioning import TIME_IDS, takes_score, time_ids
from runtimes.pictures import to_pillow
from runtimes.prompts import Embeddings, Prompted, embed
from runtimes.prompts.encoders import CONTEXT, PROJECTED
from runtimes.result import Cancelled, Preview
from runtimes.samplers import Latents, Run, Step
from runtimes.span import Stage
from runtimes.tasks import Call, Start, load_task
from runtimes.timings import Stopwatch
from runtimes.vae import decode, tile_of

Floats = NDArray[np.float32]
Callback = Callable[[Preview], bool | None]
"""Called after each step; returning False cancels."""


def sample(call: Call, callback: Callback | None = None) -> tuple[Start, Floats]:
    """What the task started with, and the latents of the pictures: [n, channels, h, w].

    Args:
        call: checked.
        callback: called after each step.

    Raises:
        EngineError: a component failed or gave NaN, with the step where there is one; or the
            pipeline was closed.
        Cancelled: the callback returned False.
    """
    unets = [stage.unet for stage in call.stages]
    prompted = embed(call.bundle, call.parts, call.settings, call.inputs.given, call.watch, unets)
    start = load_task(call.settings.task).start(call)
    x = start.x
    for stage, texts in zip(call.stages, prompted, strict=True):
        with call.use(stage.unet) as unet:
            denoiser = _denoiser(call, stage, unet, start, texts)
            with call.watch.lap("loop"):
                x = _loop(call, stage, denoiser, replace(start, x=x), callback)
    return start, x


def decoded(call: Call, latents: Floats, watch: Stopwatch) -> Floats:
    """Latents as pictures with values in [0, 1]: [n, H, W, 3].

    Args:
        call: whose VAE decoder and tiles are used.
        latents: [n, channels, h, w].
        watch: takes the time: the call's, or that of a preview.

    Raises:
        EngineError: the decoder failed or gave NaN.
    """
    tile = tile_of(call.bundle, "vae_decoder", call.settings)
    with call.use("vae_decoder", watch) as decoder, watch.lap("vae_decoder"):
        return decode(decoder, latents, call.bundle.manifest.latents, tile)


def _loop(
    call: Call, stage: Stage, denoiser: Denoiser, start: Start, callback: Callback | None
) -> Floats:
    x, begin, total = start.x, stage.span.begin, call.calls
    run = call.sampler.sample(denoiser, x, call.levels, call.generator, begin=begin)
    sent: Floats | None = None
    for done in range(begin - call.begin, stage.span.end - call.begin):
        call.parts.check_open()
        step = _next_step(run, sent, done, total)
        x = step.x
        sent = start.hold(x, step.index) if start.hold is not None else None
        x = x if sent is None else sent
        if callback is not None:
            with call.watch.lap("callback"):
                _call_back(call, callback, step, x, done, total)
    return x


def _next_step(run: Run, sent: Floats | None, done: int, total: int) -> Step:
    """The next step; a component's bad values are told with the step that they came at."""
    try:
        return next(run) if sent is None else run.send(sent)
    except NotFiniteError as e:
        raise NotFiniteError(e.component, f" at step {done + 1} of {total}") from e


def _call_back(
    call: Call, callback: Callback, step: Step, x: Floats, done: int, total: int
) -> None:
    preview = Preview(
        index=done,
        total=total,
        timestep=step.level.timestep,
        latents=x,
        denoised=step.denoised,
        # What a preview costs is the callback's time.
        decode=lambda latents: to_pillow(decoded(call, latents, Stopwatch())),
    )
    if callback(preview) is False:
        raise Cancelled(f"cancelled by the callback at step {done + 1} of {total}.")


def _denoiser(
    call: Call, stage: Stage, unet: Component, start: Start, prompted: Prompted
) -> Denoiser:
    guided = guided_network(
        _predict(call, unet),
        _branches(call, unet, start, prompted),
        call.settings,
        calls=call.calls,
        before=stage.span.begin - call.begin,
        halves="apart" if unet.batch == 1 else "together",
    )
    predicts, refiner = call.prediction_type, call.bundle.manifest.refiner
    if refiner is not None and stage.unet == refiner.component:
        predicts = refiner.prediction_type
    return Denoiser(guided, predicts, start.concat if start.concat_scaled else None)


def _predict(call: Call, unet: Component) -> Predict:
    def predict(x: Latents, timestep: float, condition: Condition) -> Latents:
        concat, context = condition.concat, condition.context
        told = {CONTEXT: context} if context.size else {}
        sample = x if concat is None else np.concatenate([x, concat], axis=1)
        with call.watch.lap("unet"):
            output = unet(
                sample=sample,
                timestep=np.array([timestep]),
                **told,
                **condition.feeds,
            )
        # Variances, which some networks learn beside it, follow the prediction.
        return output[:, : x.shape[1]]

    return predict


def _branches(call: Call, unet: Component, start: Start, prompted: Prompted) -> Branches:
    """What the U-Net sees of each branch: its texts, what goes with them, what is the same."""
    same = {**start.feeds, **_told_scale(call, unet, len(prompted.cond))}
    # Channels that are scaled with the latents come to them before that: see `_denoiser`.
    concat = None if start.concat_scaled else start.concat

    def condition(context: Embeddings, pooled: Embeddings | None, *, negative: bool) -> Condition:
        own: Mapping[str, Array] = {}
        if pooled is not None and start.of_text is not None:
            own = start.of_text(pooled)
        elif pooled is not None:
            own = _told_pooled(call, unet, pooled, negative=negative)
        return Condition(context, concat, {**same, **own})

    uncond, empty = prompted.uncond, prompted.empty
    return Branches(
        cond=condition(prompted.cond, prompted.pooled_cond, negative=False),
        uncond=None if uncond is None else condition(uncond, prompted.pooled_uncond, negative=True),
        empty=None if empty is None else condition(empty, prompted.pooled_empty, negative=True),
    )


def _told_pooled(
    call: Call, unet: Component, pooled: Embeddings, *, negative: bool
) -> dict[str, Array]:
    """The pooled embedding and the micro-conditioning, as an SDXL U-Net takes them."""
    scored = takes_score(call.bundle, unet.name)
    ids = time_ids(call.settings, scored=scored, negative=negative)
    return {PROJECTED: pooled, TIME_IDS: np.tile(ids, (len(pooled), 1))}


def _told_scale(call: Call, unet: Component, count: int) -> dict[str, Floats]:
    """The guidance scale as a U-Net takes it that guides itself; nothing for others."""
    width = embedded_width(unet.engine.graph)
    if width is None or not guides_itself(call.bundle):
        return {}
    return {ROLE: np.tile(guidance_embedding(call.settings.guidance_scale, width), (count, 1))}
