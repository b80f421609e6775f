"""Reads a CLIP tokenizer's folder as transformers 5.23 reads it, without transformers.

Either `tokenizer.json`, which comes first where both are there, or `vocab.json` and `merges.txt`;
beside them, where they exist, `tokenizer_config.json`, `special_tokens_map.json` and
`added_tokens.json`. Which token pads is settled by all of them together: in Stable Diffusion 1 it
is `<|endoftext|>`, in 2 `!`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from runtimes.added_tokens import AddedToken
from runtimes.byte_pairs import BYTE_SYMBOLS, END_OF_WORD
from runtimes.errors import LatedgeError
from runtimes.special_tokens import AddedVocabulary, SpecialTokens, add_tokens, content, merge

# CLIP's context. Taken where the files give no length, or the 10^30 that stands for "none".
CONTEXT_LENGTH = 77
_NO_LENGTH = 10**6

_T = TypeVar("_T")


@dataclass(frozen=True)
class TokenizerFiles:
    """What the files of a CLIP tokenizer say.

    Attributes:
        vocab: token to id, without what is added.
        merges: pairs of tokens, the one to merge first at the front.
        added_tokens: id to token, special ones included.
        bos_token_id: id that starts a text.
        eos_token_id: id that ends a text.
        pad_token_id: id that fills it up.
        unk_token_id: id of a byte that the vocabulary lacks.
        model_max_length: ids of a text that is filled up, the first and the last included.
    """

    vocab: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    added_tokens: Mapping[int, AddedToken]
    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    unk_token_id: int
    model_max_length: int


class _Config(SpecialTokens, frozen=True, kw_only=True):
    """A tokenizer_config.json."""

    added_tokens_decoder: dict[int, AddedToken] | None = None
    model_max_length: int | float | None = None
    padding_side: str = "right"
    truncation_side: str = "right"
    split_special_tokens: bool = False


class _Model(msgspec.Struct):
    """The `model` of a tokenizer.json; its other parts are read once its type is known."""

    vocab: msgspec.Raw
    type: str = "BPE"
    merges: msgspec.Raw = msgspec.Raw(b"[]")


class _ListedToken(AddedToken, frozen=True, kw_only=True):
    id: int


class _Serialized(msgspec.Struct):
    """A tokenizer.json. Its other parts give way to CLIP's own, as in the reference."""

    model: _Model
    added_tokens: list[_ListedToken] = []


@dataclass(frozen=True)
class _Vocabulary:
    path: Path
    vocab: dict[str, int]
    merges: list[tuple[str, str]]
    added_tokens: dict[int, AddedToken]


def read_tokenizer_files(folder: Path) -> TokenizerFiles:
    """Read the tokenizer in `folder`.

    Raises:
        LatedgeError: a file is missing, broken, of another kind of tokenizer, or asks for what is
            not supported; the message names the file.
    """
    base = _read_serialized(folder / "tokenizer.json") or _read_vocab_and_merges(folder)
    _check_merges(base)
    config_path = folder / "tokenizer_config.json"
    config = _read(config_path, _Config) or _Config()
    _check_config(config_path, config)
    special: SpecialTokens = config
    declared = config.added_tokens_decoder
    if declared is None:
        # Folders of transformers before 4.34, or from 5 on, which list no ids in the config.
        legacy = _read(folder / "special_tokens_map.json", SpecialTokens)
        special = merge(config, legacy or SpecialTokens())
        declared = _read_added_tokens(folder, special) | base.added_tokens
    added = add_tokens(base.vocab, declared, special)
    _check_added_tokens(config_path, base, declared, added)
    ids = base.vocab | {token.content: token_id for token_id, token in added.tokens.items()}
    named = {name: ids[token] for name, token in added.named.items() if token is not None}
    return TokenizerFiles(
        vocab=base.vocab,
        merges=base.merges,
        added_tokens=added.tokens,
        bos_token_id=named["bos_token"],
        eos_token_id=named["eos_token"],
        pad_token_id=named["pad_token"],
        unk_token_id=named["unk_token"],
        model_max_length=_context_length(config),
    )


def _read(path: Path, kind: type[_T]) -> _T | None:
    """The JSON file at `path` as `kind`; nothing where there is no such file."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise LatedgeError(f"{path}: can't be read ({e.strerror})") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise LatedgeError(f"{path}: not the JSON of a CLIP tokenizer: {e}") from e


def _read_serialized(path: Path) -> _Vocabulary | None:
    """The parts of a tokenizer.json that the reference takes from it."""
    serialized = _read(path, _Serialized)
    if serialized is None:
        return None
    model = serialized.model
    if model.type != "BPE":
        raise LatedgeError(f"{path}: a {model.type} tokenizer; CLIP's is byte-pair encoding (BPE)")
    try:
        vocab = msgspec.json.decode(model.vocab, type=dict[str, int])
        merges = msgspec.json.decode(model.merges, type=list[str | tuple[str, str]])
    except msgspec.DecodeError as e:
        raise LatedgeError(f"{path}: not the JSON of a CLIP tokenizer: {e} in model") from e
    pairs = [
        _pair(f"{path}: merge {number}", pair) if isinstance(pair, str) else pair
        for number, pair in enumerate(merges, 1)
    ]
    return _Vocabulary(path, vocab, pairs, {token.id: token for token in serialized.added_tokens})


def _read_vocab_and_merges(folder: Path) -> _Vocabulary:
    vocab = _read(folder / "vocab.json", dict[str, int])
    path = folder / "merges.txt"
    if vocab is None or not path.is_file():
        missing = "vocab.json" if vocab is None else "merges.txt"
        found = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else []
        raise LatedgeError(
            f"{folder}: no {missing}; a CLIP tokenizer is vocab.json and merges.txt, or"
            f" tokenizer.json; found {', '.join(found) or 'nothing'}"
        )
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as e:
        raise LatedgeError(f"{path}: not UTF-8 text ({e.reason} at byte {e.start})") from e
    # Only a line feed ends a line: tokens may hold what Python takes for other line ends.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    pairs = [
        _pair(f"{path}: line {number}", line)
        for number, line in enumerate(lines, 1)
        if line and not line.startswith("#version")
    ]
    return _Vocabulary(folder / "vocab.json", vocab, pairs, {})


def _pair(place: str, merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if not left or not right or " " in right:
        raise LatedgeError(f"{place}: {merge!r} is not two tokens with one space between")
    return left, right


def _read_added_tokens(folder: Path, special: SpecialTokens) -> dict[int, AddedToken]:
    """The added_tokens.json of older folders: token to id."""
    ids = _read(folder / "added_tokens.json", dict[str, int]) or {}
    contents = {content(token) for token in special.given}
    return {
        token_id: AddedToken(token, normalized=token not in contents, special=token in contents)
        for token, token_id in ids.items()
    }


def _check_merges(base: _Vocabulary) -> None:
    if not any(symbol + END_OF_WORD in base.vocab for symbol in BYTE_SYMBOLS.values()):
        raise LatedgeError(
            f"{base.path}: not CLIP's: none of its {len(base.vocab)} tokens is the sign of a byte"
            f" with {END_OF_WORD!r}"
        )
    for left, right in base.merges:
        for token in (left, right, left + right):
            if token not in base.vocab:
                raise LatedgeError(
                    f"{base.path}: merging {left!r} and {right!r} needs {token!r}, which is not in"
                    f" the vocabulary of {len(base.vocab)}; do vocabulary and merges belong"
                    " together?"
                )


def _check_config(path: Path, config: _Config) -> None:
    length = config.model_max_length
    if length is not None and length < _NO_LENGTH and (length < 3 or length != int(length)):
        raise LatedgeError(f"{path}: model_max_length is {length}; must be a whole number from 3")
    for name, value, supported in (
        ("padding_side", config.padding_side, "right"),
        ("truncation_side", config.truncation_side, "right"),
        ("split_special_tokens", config.split_special_tokens, False),
    ):
        if value != supported:
            raise LatedgeError(f"{path}: {name} is {value!r}; only {supported!r} is supported")


def _context_length(config: _Config) -> int:
    length = config.model_max_length
    return CONTEXT_LENGTH if length is None or length >= _NO_LENGTH else int(length)


def _check_added_tokens(
    config: Path,
    base: _Vocabulary,
    declared: Mapping[int, AddedToken],
    added: AddedVocabulary,
) -> None:
    for token in added.tokens.values():
        if token.single_word:
            raise LatedgeError(f"{config.parent}: {token.content!r} has single_word, not supported")
    known = base.vocab.keys() | {content(token) for token in declared.values()}
    for name in ("bos_token", "eos_token", "pad_token", "unk_token"):
        token = added.named[name]
        if token is None:
            raise LatedgeError(f"{config}: {name} is null; CLIP's tokenizer needs one")
        if token not in known:
            raise LatedgeError(
                f"{base.path}: {token!r}, the {name}, is not among its {len(base.vocab)} tokens nor"
                " among the added ones"
            )
