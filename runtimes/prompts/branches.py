"""What guidance's branches are made of: texts, embeddings that were given, or zeros."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtimes.inputs import Floats, Inputs
from runtimes.prompts.chunks import Embeddings
from runtimes.prompts.given import as_float32
from runtimes.settings import Settings


@dataclass(frozen=True)
class Texts:
    """What of a call's settings bears on its text embeddings.

    Attributes:
        prompt: the prompts.
        negative_prompt: as many negative ones; None where they play no part.
        empty: whether embeddings of the empty prompt are wanted too.
        prompt_syntax: a name of `runtimes.prompts.SYNTAXES`.
        long_prompts: a name of `runtimes.prompts.LONG_PROMPTS`.
        prompt_2: the prompts that a second text encoder reads; None for the same.
        negative_prompt_2: the negative ones, likewise.
        zeros: whether zeros stand for negative and empty prompts.
    """

    prompt: tuple[str, ...]
    negative_prompt: tuple[str, ...] | None
    empty: bool
    prompt_syntax: str
    long_prompts: str
    prompt_2: tuple[str, ...] | None = None
    negative_prompt_2: tuple[str, ...] | None = None
    zeros: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Texts:
        """Those of a call; at scale 0 a latent upscaler isn't told the prompts, as in diffusers."""
        untold = settings.task == "latent-upscaling" and settings.guidance_scale == 0
        return cls(
            prompt=("",) * len(settings.prompt) if untold else settings.prompt,
            negative_prompt=settings.negative_prompt if settings.guided else None,
            empty=settings.guided and settings.perp_neg,
            prompt_syntax=settings.prompt_syntax,
            long_prompts=settings.long_prompts,
            prompt_2=settings.prompt_2,
            negative_prompt_2=settings.negative_prompt_2,
            zeros=settings.zero_negative,
        )


@dataclass(frozen=True)
class Written:
    """Texts, one for each prompt.

    Attributes:
        first: what the first text encoder reads.
        second: what a second one reads.
    """

    first: tuple[str, ...]
    second: tuple[str, ...]

    def of(self, place: int) -> tuple[str, ...]:
        """What the text encoder at a place reads, in the order of their channels."""
        return self.second if place else self.first


@dataclass(frozen=True)
class Given:
    """Embeddings in place of texts.

    Attributes:
        states: of the tokens, [n, tokens, d].
        pooled: [n, d]; None where the U-Net takes none.
    """

    states: Embeddings
    pooled: Embeddings | None

    def last(self, width: int | None) -> Given:
        """With the last columns of the states alone; with all where `width` is None."""
        return self if width is None else Given(self.states[..., -width:], self.pooled)


@dataclass(frozen=True)
class Zeros:
    """Zeros, as many as the prompts' embeddings have values."""


Branch = Written | Given | Zeros


def branches_of(texts: Texts, inputs: Inputs) -> dict[str, Branch]:
    """What each branch is made of: "cond", and "uncond" and "empty" where they play a part."""
    cond = _given(inputs.prompt_embeds, inputs.pooled_prompt_embeds)
    found: dict[str, Branch] = {"cond": cond or _written(texts.prompt, texts.prompt_2)}
    if texts.negative_prompt is not None:
        given = _given(inputs.negative_prompt_embeds, inputs.negative_pooled_prompt_embeds)
        written = _written(texts.negative_prompt, texts.negative_prompt_2)
        found["uncond"] = given or (Zeros() if texts.zeros else written)
    if texts.empty:
        nothing = ("",) * len(texts.prompt)
        found["empty"] = Zeros() if texts.zeros else _written(nothing, None)
    return found


def texts_of(branches: Iterable[Branch], place: int) -> list[str]:
    """The distinct texts that the text encoder at a place reads, in their order."""
    written = (branch.of(place) for branch in branches if isinstance(branch, Written))
    return list(dict.fromkeys(text for each in written for text in each))


def _written(first: tuple[str, ...], second: tuple[str, ...] | None) -> Written:
    return Written(first, first if second is None else second)


def _given(states: Floats | None, pooled: Floats | None) -> Given | None:
    if states is None:
        return None
    return Given(as_float32(states), None if pooled is None else as_float32(pooled))
