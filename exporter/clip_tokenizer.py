"""CLIP's tokenizer as files, for checkpoints that come without one.

Made from the merges that OpenAI published with CLIP, which ship with the project
(`clip_vocabulary/`, MIT). All Stable Diffusion models of families 1, 2 and XL use them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from runtimes.byte_pairs import BYTE_SYMBOLS, END_OF_WORD
from runtimes.tokenizer_files import CONTEXT_LENGTH

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49_152 - 256 - 2
"""How many of the file's 262,143 merges CLIP uses."""


def clip_tokenizer(pad_token: str) -> dict[str, bytes]:
    """The files of CLIP's tokenizer of 49,408 tokens, as Hugging Face lays them out.

    Args:
        pad_token: what fills a prompt up: "<|endoftext|>" in Stable Diffusion 1 and XL's first
            encoder, "!" in 2 and XL's second.

    Returns:
        File name → content.
    """
    special = {
        "bos_token": _special(_BEGIN),
        "eos_token": _special(_END),
        "pad_token": pad_token,
        "unk_token": _special(_END),
    }
    typed = {
        name: token if isinstance(token, str) else {"__type": "AddedToken", **token}
        for name, token in special.items()
    }
    config = {
        **typed,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": CONTEXT_LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    merges = _merges()
    return {
        "merges.txt": "\n".join(["#version: 0.2", *merges, ""]).encode(),
        "special_tokens_map.json": _json(special),
        "tokenizer_config.json": _json(config),
        "vocab.json": _json(_vocabulary(merges)),
    }


@cache
def _merges() -> tuple[str, ...]:
    packed = files("exporter").joinpath("clip_vocabulary", "bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(packed.read_bytes()).decode().split("\n")
    return tuple(lines[1 : 1 + _MERGES])  # the first line is a title


def _vocabulary(merges: tuple[str, ...]) -> dict[str, int]:
    """Token → id: bytes, bytes that end a word, merges by rank, the two specials."""
    symbols = list(BYTE_SYMBOLS.values())
    final = [symbol + END_OF_WORD for symbol in symbols]
    merged = [merge.replace(" ", "") for merge in merges]
    return {token: index for index, token in enumerate([*symbols, *final, *merged, _BEGIN, _END])}


def _special(content: str) -> Mapping[str, object]:
    return {
        "content": content,
        "lstrip": False,
        "normalized": True,
        "rstrip": False,
        "single_word": False,
    }


def _json(content: Mapping[str, object]) -> bytes:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode()
