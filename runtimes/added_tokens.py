"""Tokens that a tokenizer finds in the text as they are written, before the text is split.

Special tokens, and the tokens of textual inversion: `<|endoftext|>`, `!` where it pads, `<cat>`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from runtimes.tokenizer_text import whitespace


class AddedToken(msgspec.Struct, frozen=True):
    """A token as tokenizer files declare it.

    Attributes:
        content: what is looked for.
        lstrip: whether the whitespace before it belongs to it.
        rstrip: whether the whitespace after it belongs to it.
        single_word: whether it is looked for between words only (not supported when true).
        normalized: whether it is looked for in the normalised text, in its own normalised form;
            where unsaid, so are all but special tokens.
        special: whether the tokenizer uses it for a purpose of its own.
    """

    content: str
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool | None = None
    special: bool = False

    @property
    def in_normalized_text(self) -> bool:
        """Whether it is looked for in the normalised text."""
        return not self.special if self.normalized is None else self.normalized


class AddedTokens:
    """Finds added tokens: the leftmost first, and of those that start together the longest.

    Args:
        tokens: id to token.
        normalize: what gives the normalised text.

    Attributes:
        contents: id to what is looked for, which is also what the id is decoded to.
    """

    def __init__(self, tokens: Mapping[int, AddedToken], normalize: Callable[[str], str]) -> None:
        self.contents: Mapping[int, str] = {
            i: normalize(token.content) if token.in_normalized_text else token.content
            for i, token in tokens.items()
        }
        self._tokens = tokens
        self._normalize = normalize
        self._raw = self._ids(in_normalized_text=False)
        self._normalized = self._ids(in_normalized_text=True)

    def split(self, text: str) -> Iterator[str | int]:
        """Yield, in their order, ids of added tokens and the normalised text between them."""
        for part in self._find(text, self._raw):
            if isinstance(part, int):
                yield part
            else:
                yield from self._find(self._normalize(part), self._normalized)

    def _ids(self, in_normalized_text: bool) -> dict[str, int]:
        """What to look for, the longest first, and its id."""
        ids = {
            self.contents[i]: i
            for i, token in self._tokens.items()
            if token.in_normalized_text is in_normalized_text
        }
        return {content: ids[content] for content in sorted(ids, key=len, reverse=True)}

    def _find(self, text: str, ids: Mapping[str, int]) -> Iterator[str | int]:
        start = 0
        pattern = "|".join(map(re.escape, ids)) or "(?!)"
        for match in re.finditer(pattern, text):
            token_id = ids[match.group()]
            before, end = text[start : match.start()], match.end()
            if self._tokens[token_id].lstrip:
                before = before.rstrip(whitespace())
            if self._tokens[token_id].rstrip:
                end = len(text) - len(text[end:].lstrip(whitespace()))
            if before:
                yield before
            yield token_id
            start = end
        if start < len(text):
            yield text[start:]
