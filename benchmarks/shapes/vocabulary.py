"""The shapes model's vocabulary: byte-level BPE in CLIP's format, learnt from the caption grammar.

As in CLIP, the first 512 tokens are the 256 byte symbols, alone and as the end of a word, so that
any text can be written; merges that make each of the grammar's words one token follow, then the
start and the end of a text.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from benchmarks.shapes.generator import BACKGROUNDS, COLOURS, PLACES, RELATIONS, SHAPES, SIZES

START = "<|startoftext|>"
END = "<|endoftext|>"
END_OF_WORD = "</w>"
MAX_LENGTH = 77

Symbols = tuple[str, ...]


def words() -> tuple[str, ...]:
    """All words of the caption grammar, sorted."""
    phrases = (*SHAPES, *COLOURS, *BACKGROUNDS, *SIZES, *PLACES, *RELATIONS, "a an on background")
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def byte_symbols() -> tuple[str, ...]:
    """The printable character that stands for each byte, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = 256 - len(printable)
    return tuple(map(chr, printable)) + tuple(chr(256 + i) for i in range(others))


def merges() -> tuple[tuple[str, str], ...]:
    """Learns merges until each word is one symbol: most frequent pair first, then by spelling."""
    spelled: list[Symbols] = [(*word[:-1], word[-1] + END_OF_WORD) for word in words()]
    learnt: list[tuple[str, str]] = []
    while True:
        counts = Counter(pair for symbols in spelled for pair in pairwise(symbols))
        if not counts:
            return tuple(learnt)
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        learnt.append(best)
        spelled = [_merge(symbols, best) for symbols in spelled]


def tokens() -> dict[str, int]:
    """The vocabulary: token to id."""
    symbols = byte_symbols()
    listed = [*symbols, *(symbol + END_OF_WORD for symbol in symbols)]
    listed += [first + second for first, second in merges()]
    # Two merges may spell the same token; it keeps its first place.
    unique = dict.fromkeys([*listed, START, END])
    return {token: index for index, token in enumerate(unique)}


def token_ids(text: str) -> list[int]:
    """Writes a caption of the grammar as 77 token ids, one a word, padded with the end of a text.

    Training uses this; anything else goes through an ordinary CLIP tokenizer, which gives the same.

    Raises:
        KeyError: A word is not the grammar's.
    """
    ids = _cached_tokens()
    written = [ids[START], *(ids[word + END_OF_WORD] for word in text.split()), ids[END]]
    return written + [ids[END]] * (MAX_LENGTH - len(written))


def write_tokenizer(folder: Path) -> None:
    """Writes the tokenizer as transformers' `CLIPTokenizer` and diffusers pipelines read it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps(tokens(), ensure_ascii=False), encoding="utf-8", newline="\n"
    )
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges())]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    _write_json(folder / "special_tokens_map.json", special)
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    _write_json(folder / "tokenizer_config.json", config)


@functools.cache
def _cached_tokens() -> dict[str, int]:
    return tokens()


def _merge(symbols: Symbols, pair: tuple[str, str]) -> Symbols:
    merged: list[str] = []
    index = 0
    while index < len(symbols):
        if symbols[index : index + 2] == pair:
            merged.append(pair[0] + pair[1])
            index += 2
        else:
            merged.append(symbols[index])
            index += 1
    return tuple(merged)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")
