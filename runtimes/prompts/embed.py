"""A call's prompts, encoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from runtimes.errors import UsageError
from runtimes.inputs import Floats, Inputs
from runtimes.parts import Parts
from runtimes.prompts.chunks import Embeddings, Row, empty_row
from runtimes.prompts.clip_skip import state_role
from runtimes.prompts.fragments import quoted
from runtimes.prompts.given import as_float32, embeddings_sha256
from runtimes.prompts.plan import plan
from runtimes.prompts.pooled import POOLED, TASK, last_raw_state
from runtimes.settings import Settings
from runtimes.timings import Stopwatch

Branch = tuple[str, ...] | Embeddings
"""Texts, or embeddings [n, tokens, d] that were given in their place."""

TEXT_ENCODER = "text_encoder"
_CALLER = 6
"""Frames from `encode` up to whoever calls `Pipeline.__call__`."""


class PromptTruncated(UserWarning):
    """A prompt has more tokens than the text encoder takes; its end was dropped."""


@dataclass(frozen=True)
class Prompted:
    """Text embeddings, all of one length: [n, 77 k, d].

    Attributes:
        cond: of the prompts.
        uncond: of the negative prompts; None without guidance.
        empty: of the empty prompt; None unless Perp-Neg takes it.
        pooled_cond: the pooled embeddings of `cond`, [n, d]; None where the U-Net takes none.
        pooled_uncond: those of `uncond`, likewise.
        pooled_empty: those of `empty`, likewise.
    """

    cond: Embeddings
    uncond: Embeddings | None = None
    empty: Embeddings | None = None
    pooled_cond: Embeddings | None = None
    pooled_uncond: Embeddings | None = None
    pooled_empty: Embeddings | None = None


@dataclass(frozen=True)
class Texts:
    """What of a call's settings bears on its text embeddings.

    Attributes:
        prompt: the prompts.
        negative_prompt: as many negative ones; None where they play no part.
        empty: whether embeddings of the empty prompt are wanted too.
        prompt_syntax: a name of `runtimes.prompts.SYNTAXES`.
        long_prompts: a name of `runtimes.prompts.LONG_PROMPTS`.
        clip_skip: layers of the text encoder that are left out.
        pooled: whether the U-Net takes the last layer's states as they are, without the final layer
            norm, and the pooled embedding.
    """

    prompt: tuple[str, ...]
    negative_prompt: tuple[str, ...] | None
    empty: bool
    prompt_syntax: str
    long_prompts: str
    clip_skip: int
    pooled: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Texts:
        """Those of a call; at scale 0 a latent upscaler isn't told the prompts, as in diffusers."""
        pooled = settings.task == TASK
        untold = pooled and settings.guidance_scale == 0
        return cls(
            prompt=("",) * len(settings.prompt) if untold else settings.prompt,
            negative_prompt=settings.negative_prompt if settings.guided else None,
            empty=settings.guided and settings.perp_neg,
            prompt_syntax=settings.prompt_syntax,
            long_prompts=settings.long_prompts,
            clip_skip=settings.clip_skip,
            pooled=pooled,
        )


def embed(parts: Parts, settings: Settings, inputs: Inputs, watch: Stopwatch) -> Prompted:
    """Text embeddings of each picture, those of one prompt side by side.

    Args:
        parts: with the text encoder, which isn't touched where all embeddings are given.
        settings: with the prompts.
        inputs: with embeddings that were given in place of prompts.
        watch: takes the stages' times.

    Raises:
        UsageError: the settings were made for other embeddings.
        EngineError: the text encoder failed or gave NaN.

    Warns:
        PromptTruncated: a text is too long; says what was dropped.
    """
    if embeddings_sha256(inputs) != settings.embeddings_sha256:
        raise UsageError(
            "these settings were made with other prompt embeddings; give the same prompt_embeds "
            "(and negative_prompt_embeds) again."
        )
    found = encode(parts, Texts.of(settings), inputs, watch, caller=_CALLER)
    each = {
        name: None if rows is None else np.repeat(rows, settings.num_images_per_prompt, axis=0)
        for name, rows in vars(found).items()
    }
    return replace(found, **each)


def encode(
    parts: Parts, texts: Texts, inputs: Inputs, watch: Stopwatch, *, caller: int
) -> Prompted:
    """Text embeddings of each prompt; each distinct text is encoded once, all in one call.

    Args:
        parts: as of `embed`.
        texts: the prompts.
        inputs: as of `embed`.
        watch: as of `embed`.
        caller: frames from here up to the one that a warning speaks to.
    """
    branches = branches_of(texts, inputs)
    tokenizer = parts.tokenizers[TEXT_ENCODER]
    with watch.lap("tokenize"):
        plans = {
            text: plan(text, tokenizer, texts.prompt_syntax, texts.long_prompts)
            for text in texts_of(branches.values())
        }
        lengths = {each.chunks * tokenizer.model_max_length for each in plans.values()}
        lengths |= {b.shape[1] for b in branches.values() if isinstance(b, np.ndarray)}
    for each in plans.values():
        if each.dropped:
            _warn_truncated(each.dropped, tokenizer.model_max_length, caller + 1)
    rows = [row for each in plans.values() for row in each.rows]
    filler = [empty_row(tokenizer)] if len(lengths) > 1 else []
    states, pooled = _encoded(parts, [*rows, *filler], texts, watch)
    made = {text: each.assemble(states.__getitem__) for text, each in plans.items()}

    def of(branch: Branch) -> Embeddings:
        found = [made[text] for text in branch] if isinstance(branch, tuple) else list(branch)
        alike = [_filled(each, max(lengths), *(states[row] for row in filler)) for each in found]
        return np.stack(alike)

    def pooled_of(branch: Branch) -> Embeddings:
        return np.stack([pooled[plans[text].rows[0]] for text in branch if isinstance(text, str)])

    found = {name: of(branch) for name, branch in branches.items()}
    if texts.pooled:
        found |= {f"pooled_{name}": pooled_of(branch) for name, branch in branches.items()}
    return Prompted(**found)


def branches_of(texts: Texts, inputs: Inputs) -> dict[str, Branch]:
    """What each branch is made of, by its name in `Prompted`."""
    branches: dict[str, Branch] = {"cond": _given_or(inputs.prompt_embeds, texts.prompt)}
    if texts.negative_prompt is not None:
        branches["uncond"] = _given_or(inputs.negative_prompt_embeds, texts.negative_prompt)
    if texts.empty:
        branches["empty"] = ("",) * len(texts.prompt)
    return branches


def texts_of(branches: Iterable[Branch]) -> list[str]:
    """The distinct texts of branches, in their order."""
    texts = (text for branch in branches if isinstance(branch, tuple) for text in branch)
    return list(dict.fromkeys(texts))


def _given_or(given: Floats | None, texts: tuple[str, ...]) -> Branch:
    return texts if given is None else as_float32(given)


def _encoded(
    parts: Parts, rows: list[Row], texts: Texts, watch: Stopwatch
) -> tuple[dict[Row, Embeddings], dict[Row, Embeddings]]:
    """The text encoder's states of each distinct row, in one call, and the pooled ones if asked.

    None for no rows.
    """
    distinct = list(dict.fromkeys(rows))
    if not distinct:
        return {}, {}
    ids = np.array(distinct, np.int64)
    with parts.use(TEXT_ENCODER, watch) as text_encoder, watch.lap("text_encoder"):
        graph = text_encoder.engine.graph
        role = last_raw_state(graph) if texts.pooled else state_role(graph, texts.clip_skip)
        roles = [role, POOLED] if texts.pooled else [role]
        states, *pooled = text_encoder.run(roles, {"input_ids": ids}).values()
    found = [dict(zip(distinct, each, strict=True)) for each in (states, *pooled)]
    return found[0], found[-1] if texts.pooled else {}


def _filled(embeddings: Embeddings, length: int, *empty: Embeddings) -> Embeddings:
    """Embeddings of `length` tokens: what is missing are those of the empty text, over and over."""
    missing = length - len(embeddings)
    if not missing:
        return embeddings
    (chunk,) = empty
    return np.concatenate([embeddings, np.tile(chunk, (missing // len(chunk), 1))])


def _warn_truncated(dropped: str, length: int, caller: int) -> None:
    warnings.warn(
        f"a prompt has more than {length} tokens; its end was dropped: {quoted(dropped)}",
        PromptTruncated,
        stacklevel=caller,
    )
