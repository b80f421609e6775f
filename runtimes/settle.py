"""Checks what is asked of a bundle and fills in what is not said, before any slow work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Unpack

from runtimes.abilities import check_able, check_task
from runtimes.built_sizes import at_asked_size
from runtimes.bundle import Bundle
from runtimes.guidance.check import check_guided_calls, settle_guidance
from runtimes.inputs import NO_INPUTS, Inputs
from runtimes.micro_conditioning import settle_micro_conditioning
from runtimes.options import Options, check_names, names_of
from runtimes.picture_options import settle_pictures
from runtimes.plan import Plan
from runtimes.prompts.branches import Texts
from runtimes.prompts.check import check_readable
from runtimes.prompts.encoders import takes_text
from runtimes.prompts.settle import settle_prompts
from runtimes.prompts.untold import settle_untold
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.settled_schedule import settle_schedule
from runtimes.sizes import settle_output
from runtimes.span import check_entry, settle_shares, stages_of
from runtimes.tasks import load_task, pick_task
from runtimes.tokenizer import ClipTokenizer
from runtimes.variation import settle_noise


def settle(
    bundle: Bundle,
    prompt: str | Sequence[str] | None = None,
    negative_prompt: str | Sequence[str] | None = None,
    *,
    inputs: Inputs | ReadInputs = NO_INPUTS,
    tokenizers: Mapping[str, ClipTokenizer] | None = None,
    **options: Unpack[Options],
) -> Settings:
    """Checks what is asked of a bundle and fills in what is not said; loads nothing.

    Args:
        bundle: what shall make the pictures.
        prompt: as of `Pipeline.__call__`.
        negative_prompt: likewise.
        inputs: the pictures and arrays of the call.
        tokenizers: the bundle's by text encoder, where it is open already.
        options: see `runtimes.options.Options`.

    Raises:
        UsageError: an argument is wrong, or the bundle can't do it; says what is allowed.
        BundleError: the bundle can't make pictures at all.
    """
    check_names(options, names_of(Options))
    check_able(bundle)
    bundle = at_asked_size(bundle, options.get("height"), options.get("width"))
    read = ReadInputs.of(inputs)
    task = pick_task(read.given, bundle.manifest.tasks)
    check_task(bundle, task)
    if not takes_text(bundle):
        prompt, options = settle_untold(prompt, negative_prompt, read.given, options)
    pictures = settle_pictures(bundle, task, read.given, options)
    noise = settle_noise(read.given, options)
    prompts = settle_prompts(bundle, prompt, negative_prompt, read, options)
    negative = any(prompts["negative_prompt"]) or read.given.negative_prompt_embeds is not None
    guidance = settle_guidance(bundle, task, options, negative=negative)
    schedule, plan = settle_schedule(bundle, options)
    output = settle_output(bundle, task, read, options)
    told = settle_micro_conditioning(bundle, (output["height"], output["width"]), options)
    settings = Settings(
        task=task,
        input_sha256=read.sha256,
        **pictures,
        **noise,
        **prompts,
        **guidance,
        **schedule,
        **output,
        **told,
        **settle_shares(bundle, task, options),
    )
    _check_together(bundle, settings, plan, read, tokenizers)
    return settings


def _check_together(
    bundle: Bundle,
    settings: Settings,
    plan: Plan,
    inputs: ReadInputs,
    tokenizers: Mapping[str, ClipTokenizer] | None,
) -> None:
    """What shows once all of it is settled."""
    stages = stages_of(bundle, settings, plan)
    for stage in stages:
        check_entry(plan, stage.span.begin)
    check_guided_calls(settings, sum(stage.span.calls for stage in stages))
    check_readable(bundle, Texts.of(settings), inputs.given, settings.clip_skip, tokenizers)
    load_task(settings.task).check(bundle, settings, inputs)
