"""The prompts of a call, and how they are read, as they are in the end."""

from __future__ import annotations

from typing import TypedDict

from runtimes.bundle import Bundle
from runtimes.checks import check_texts_of
from runtimes.errors import UsageError
from runtimes.options import PromptOptions
from runtimes.prompts.encoders import check_clip_skip
from runtimes.prompts.given import check_texts, embeddings_sha256
from runtimes.prompts.plan import check_long_prompts, check_syntax
from runtimes.read_inputs import ReadInputs


class PromptFields(TypedDict):
    """The fields of `Settings` that `settle_prompts` settles."""

    prompt: tuple[str, ...]
    negative_prompt: tuple[str, ...]
    prompt_syntax: str
    long_prompts: str
    clip_skip: int
    embeddings_sha256: str | None
    prompt_2: tuple[str, ...] | None
    negative_prompt_2: tuple[str, ...] | None
    zero_negative: bool


def settle_prompts(
    bundle: Bundle,
    prompt: object,
    negative_prompt: object,
    inputs: ReadInputs,
    options: PromptOptions,
) -> PromptFields:
    """Checks the prompts of a call; whether they can be read is seen once all else is settled.

    Args:
        bundle: whose text encoder takes them.
        prompt: a text or several, or None where embeddings are given.
        negative_prompt: likewise.
        inputs: of the call.
        options: of the call.

    Raises:
        UsageError: an argument is wrong, or goes with something that wasn't given.
    """
    prompts, negatives = check_texts(prompt, negative_prompt, inputs.given)
    # One prompt for several pictures is the prompt of each.
    alone = len(prompts) == 1 and inputs.given.prompt_embeds is None
    each = inputs.count if inputs.count and alone else 1
    syntax = check_syntax(options.get("prompt_syntax"))
    negative = (negative_prompt, options.get("negative_prompt_2"))
    untold = not told(*negative, inputs.given.negative_prompt_embeds)
    return {
        "prompt": prompts * each,
        "negative_prompt": negatives * each,
        "prompt_syntax": syntax,
        "long_prompts": check_long_prompts(options.get("long_prompts"), syntax),
        "clip_skip": check_clip_skip(bundle, options.get("clip_skip")),
        "embeddings_sha256": embeddings_sha256(inputs.given),
        "prompt_2": second_texts(bundle, "prompt_2", options.get("prompt_2"), prompts, each),
        "negative_prompt_2": second_texts(
            bundle, "negative_prompt_2", options.get("negative_prompt_2"), negatives, each
        ),
        "zero_negative": takes_zeros(bundle) and untold,
    }


def told(*negatives: object) -> bool:
    """Whether anything is said of what guidance leads away from; the empty text says something."""
    return any(each is not None for each in negatives)


def takes_zeros(bundle: Bundle) -> bool:
    """Whether zeros stand for negative embeddings of which nothing is said."""
    conditioning = bundle.manifest.conditioning
    return conditioning is not None and conditioning.force_zeros_for_empty_prompt


def second_texts(
    bundle: Bundle, name: str, given: object, first: tuple[str, ...], each: int = 1
) -> tuple[str, ...] | None:
    """What a second text encoder reads; None for what the first one does.

    Args:
        bundle: may have a second one.
        name: the argument, for messages.
        given: it; None where nothing is said.
        first: what the first one reads.
        each: how many pictures each text is for.

    Raises:
        UsageError: it isn't text, there are too many or too few, or there is one text encoder.
    """
    if given is None:
        return None
    if len(bundle.manifest.tokenizers) < 2:
        raise UsageError(f"{name} is given, and this bundle has one text encoder; leave it out.")
    texts = check_texts_of(name, given, len(first))
    return None if texts == first else texts * each
