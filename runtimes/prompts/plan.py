"""What is to be encoded for a prompt, and how its embeddings are made of that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, get_args

from runtimes.errors import unknown_name
from runtimes.prompts import a1111, compel
from runtimes.prompts.chunks import (
    Chunk,
    Embeddings,
    Row,
    Split,
    Token,
    chunk,
    cut,
    room,
    split_at_sentences,
    split_near_commas,
)
from runtimes.prompts.compel_weights import CompelPlan, compel_plan
from runtimes.prompts.fragments import Fragment
from runtimes.prompts.restored_mean import MeanRestored
from runtimes.tokenizer import ClipTokenizer

Syntax = Literal["plain", "a1111", "compel"]
LongPrompts = Literal["truncate", "chunks"]
SYNTAXES: tuple[Syntax, ...] = get_args(Syntax)
LONG_PROMPTS: tuple[LongPrompts, ...] = get_args(LongPrompts)

States = Callable[[Row], Embeddings]
"""A row of ids → the text encoder's states [77, d]."""


class Plan(Protocol):
    """A prompt, tokenised: what the text encoder gets, and what is made of its states."""

    @property
    def rows(self) -> tuple[Row, ...]:
        """Every row that `assemble` asks for."""
        ...

    @property
    def dropped(self) -> str:
        """What didn't fit, as it is decoded; empty where all of it did."""
        ...

    @property
    def chunks(self) -> int:
        """How many times 77 tokens it has."""
        ...

    def assemble(self, states: States) -> Embeddings:
        """The prompt's embeddings [77 chunks, d]."""
        ...


def check_syntax(name: str | None) -> Syntax:
    """A name of `SYNTAXES`; None is plain text.

    Raises:
        UsageError: unknown; lists the known ones and the closest.
    """
    if name is None:
        return "plain"
    for known in SYNTAXES:
        if name == known:
            return known
    raise unknown_name("prompt_syntax", str(name), SYNTAXES)


def check_long_prompts(name: str | None, syntax: Syntax) -> LongPrompts:
    """A name of `LONG_PROMPTS`; None is the syntax's own habit: plain prompts are cut.

    Raises:
        UsageError: unknown; lists the known ones and the closest.
    """
    if name is None:
        return "truncate" if syntax == "plain" else "chunks"
    for known in LONG_PROMPTS:
        if name == known:
            return known
    raise unknown_name("long_prompts", str(name), LONG_PROMPTS)


def plan(text: str, tokenizer: ClipTokenizer, syntax: str, long_prompts: str) -> Plan:
    """Reads a prompt and tokenises it.

    Args:
        text: the prompt.
        tokenizer: the text encoder's.
        syntax: of the prompt; a name of `SYNTAXES`.
        long_prompts: what becomes of what doesn't fit; a name of `LONG_PROMPTS`.

    Raises:
        UsageError: the prompt can't be read in its syntax.
    """
    truncate = long_prompts == "truncate"
    if syntax == "compel":
        return _compel_plan(text, tokenizer, truncate=truncate)
    sections = a1111.parse(text) if syntax == "a1111" else [[Fragment(text)]]
    tokens = [_tokens(tokenizer, section) for section in sections]
    chunks, dropped = _first(tokenizer, tokens) if truncate else (_all(tokenizer, tokens), "")
    return MeanRestored(tuple(chunks), dropped)


def _tokens(tokenizer: ClipTokenizer, fragments: list[Fragment]) -> list[Token]:
    return [Token(i, each.weight) for each in fragments for i in tokenizer.tokenize(each.text)]


def _first(tokenizer: ClipTokenizer, sections: list[list[Token]]) -> tuple[list[Chunk], str]:
    """The first chunk, and the text of what follows it."""
    kept, rest = cut(sections[0], room(tokenizer))
    dropped = [*rest, *(token for section in sections[1:] for token in section)]
    return [chunk(tokenizer, kept)], tokenizer.decode(token.id for token in dropped)


def _all(tokenizer: ClipTokenizer, sections: list[list[Token]]) -> list[Chunk]:
    """Every chunk; nothing after the last BREAK makes none."""
    size, commas = room(tokenizer), tokenizer.tokenize(",")
    comma = commas[0] if len(commas) == 1 else None
    kept = sections if sections[-1] or len(sections) == 1 else sections[:-1]
    return [
        chunk(tokenizer, part) for tokens in kept for part in split_near_commas(tokens, size, comma)
    ]


def _compel_plan(text: str, tokenizer: ClipTokenizer, *, truncate: bool) -> CompelPlan:
    size = room(tokenizer)

    def first(tokens: Sequence[Token]) -> list[list[Token]]:
        return [cut(tokens, size)[0]]

    def sentences(tokens: Sequence[Token]) -> list[list[Token]]:
        return split_at_sentences(tokens, size, tokenizer.token)

    split: Split = first if truncate else sentences
    return compel_plan(compel.parse(text), tokenizer, split, window=size if truncate else None)
