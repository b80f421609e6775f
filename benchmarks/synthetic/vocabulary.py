"""A CLIP-format byte-pair vocabulary of any size, made up but well formed.

The real one, which ships with the exporter, has one size. This one has its layout at any size: 256
byte symbols, the same with `</w>`, one token per merge, then the two specials; every merge joins
two earlier tokens into a new one. So it exercises a tokenizer as the real one does, while its
tokens mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

END_OF_WORD = "</w>"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
MAX_LENGTH = 77

# By frequency in English: earlier pieces are picked more often.
_LETTERS = "etaoinshrdlcumwfgypbvkjxqz"
_PIECE_LIMIT = 12

Merge = tuple[str, str]


def byte_symbols() -> dict[int, str]:
    """Byte → the character that stands for it, in CLIP's order of tokens.

    Printable characters of Latin-1 stand for themselves and come first; the other bytes take the
    characters from U+0100 on (the byte-level BPE of GPT-2).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = sorted(set(range(256)) - set(printable))
    symbols = {byte: chr(byte) for byte in printable}
    return symbols | {byte: chr(256 + n) for n, byte in enumerate(others)}


def make_merges(count: int) -> list[Merge]:
    """The first `count` merges of one fixed endless sequence.

    Args:
        count: at least the 110 or so that the fixed beginning has.
    """
    merges = list(_fixed_merges())
    known = {left + right for left, right in merges}
    inner = list(_LETTERS)
    final = [letter + END_OF_WORD for letter in _LETTERS]
    uniform = _uniform()
    while len(merges) < count:
        rights = inner if next(uniform) < 0.5 else final
        left, right = _pick(inner, next(uniform)), _pick(rights, next(uniform))
        piece = left + right
        if piece not in known and len(piece.removesuffix(END_OF_WORD)) <= _PIECE_LIMIT:
            known.add(piece)
            merges.append((left, right))
            rights.append(piece)
    return merges[:count]


def _fixed_merges() -> Iterator[Merge]:
    """Merges over punctuation and over the UTF-8 bytes of accented letters and emoji."""
    for letter in "stmd":
        yield "'", letter + END_OF_WORD
    for mark in ".!?-":
        yield mark, mark
        yield mark, mark + END_OF_WORD
        yield mark + mark, mark + END_OF_WORD
    symbol = byte_symbols()
    yield symbol[0xF0], symbol[0x9F]
    yield symbol[0xF0] + symbol[0x9F], symbol[0x98]
    for byte in range(0xA0, 0xC0):
        yield symbol[0xC3], symbol[byte]
        yield symbol[0xC3], symbol[byte] + END_OF_WORD


def _pick(pieces: list[str], uniform: float) -> str:
    return pieces[int(len(pieces) * uniform**2)]


def _uniform() -> Iterator[float]:
    stream = np.random.Philox(key=0)
    while True:
        yield from (stream.random_raw(4096) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def make_vocabulary(size: int) -> tuple[dict[str, int], list[Merge]]:
    """Token → id, and the merges by rank."""
    symbols = list(byte_symbols().values())
    merges = make_merges(size - 2 * len(symbols) - 2)
    final = [symbol + END_OF_WORD for symbol in symbols]
    tokens = [*symbols, *final, *(left + right for left, right in merges), BEGIN, END]
    return {token: index for index, token in enumerate(tokens)}, merges


def write_tokenizer(folder: Path, size: int, pad_token: str) -> None:
    """Writes vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json.

    Args:
        folder: an existing folder.
        size: number of tokens, specials included.
        pad_token: the token that fills up to 77.
    """
    vocabulary, merges = make_vocabulary(size)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    specials = {"bos_token": BEGIN, "eos_token": END, "pad_token": pad_token, "unk_token": END}
    config = {
        **specials,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": MAX_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    files = {
        "vocab.json": vocabulary,
        "special_tokens_map.json": specials,
        "tokenizer_config.json": config,
    }
    for name, content in files.items():
        (folder / name).write_text(
            json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n"
        )
