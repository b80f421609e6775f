"""From text to the words that CLIP's byte-pair encoding takes apart.

The steps are those of transformers' `CLIPTokenizer` (5.23, over the tokenizers library): canonical
composition (NFC), runs of whitespace to one space, lowercase, then a split into contractions,
runs of letters, single numbers and runs of anything else. What is a letter, a number, a space or
a capital comes from `unicode_tables.py`, so it is the same under every Python.

Only the composition asks Python's `unicodedata`. The library's composition knows an older Unicode:
code points that it leaves alone are kept out of Python's, which normalises the pieces between.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

from runtimes import unicode_tables

# The pattern of the split, in ASCII: `stand_ins` makes any text ASCII first. A special token that
# only lowercasing has made is one match here, though its letters and its brackets are separate
# words: the brackets don't join the punctuation around it.
_WORD = re.compile(
    rb"<\|(?:start|end)oftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[a-zA-Z]+|[0-9]|[^ a-zA-Z0-9]+"
)
_LETTER, _NUMBER, _OTHER = b"A0!"


def normalize(text: str) -> str:
    """Compose canonically, make each run of whitespace one space, and lowercase.

    Letters are lowercased one by one: no final sigma, and a capital I with a dot above becomes
    two code points.
    """
    return _whitespace_runs().sub(" ", compose(text)).translate(_lowercase())


def compose(text: str) -> str:
    """The canonical composition (NFC) of `text`, as the tokenizers library does it."""
    if text.isascii():
        return text
    pieces: list[str] = []
    start = 0
    for position in np.flatnonzero(_within(text, unicode_tables.UNCOMPOSED)).tolist():
        pieces += [unicodedata.normalize("NFC", text[start:position]), text[position]]
        start = position + 1
    return "".join(pieces) + unicodedata.normalize("NFC", text[start:])


def split_words(text: str) -> list[str]:
    """Split normalised text into words; spaces separate them and are dropped."""
    words: list[str] = []
    for match in _WORD.finditer(stand_ins(text)):
        word = text[match.start() : match.end()]
        if word.startswith("<|") and word.endswith("text|>"):
            words += [word[:2], word[2:-2], word[-2:]]
        else:
            words.append(word)
    return words


def stand_ins(text: str) -> bytes:
    """`text` with one ASCII letter, number or sign of its class for all that is not ASCII."""
    if text.isascii():
        return text.encode()
    signs = np.where(_within(text, unicode_tables.LETTERS), _LETTER, _OTHER)
    signs = np.where(_within(text, unicode_tables.NUMBERS), _NUMBER, signs)
    code_points = _code_points(text)
    return np.where(code_points < 128, code_points, signs).astype(np.uint8).tobytes()


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _within(text: str, table: str) -> NDArray[np.bool_]:
    """Which code points of `text` lie in the ranges of `table`."""
    return np.searchsorted(_edges(table), _code_points(text), side="right") % 2 == 1


@cache
def _edges(table: str) -> NDArray[np.uint32]:
    return np.cumsum([int(difference, 36) for difference in table.split()], dtype=np.uint32)


@cache
def whitespace() -> str:
    """Every character that counts as whitespace."""
    edges = _edges(unicode_tables.WHITESPACE).tolist()
    ranges = zip(edges[::2], edges[1::2], strict=True)
    return "".join(chr(c) for first, last in ranges for c in range(first, last))


@cache
def _whitespace_runs() -> re.Pattern[str]:
    return re.compile(f"[{whitespace()}]+")


@cache
def _lowercase() -> dict[int, int | str]:
    small: dict[int, int | str] = {}
    for run in unicode_tables.LOWERCASE.split():
        start, count, step, shift = (int(number, 36) for number in run.split("."))
        small |= {capital: capital + shift for capital in range(start, start + count * step, step)}
    return small | {ord(c): text for c, text in unicode_tables.LOWERCASE_LONG.items()}
