"""Settles which tokens a tokenizer's files add to its vocabulary, and which are special.

The rules are transformers' (5.23). They matter: a token that the files make special is found in
the text as it is written, so where `!` pads, every `!` of a prompt is that token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from runtimes.added_tokens import AddedToken

Token = str | AddedToken
NamedToken = Token | None | UnsetType


class SpecialTokens(msgspec.Struct, frozen=True):
    """The special tokens that one file names: `special_tokens_map.json`, or the config.

    The names are in the order in which the reference adds them.
    """

    bos_token: NamedToken = UNSET
    eos_token: NamedToken = UNSET
    unk_token: NamedToken = UNSET
    sep_token: NamedToken = UNSET
    pad_token: NamedToken = UNSET
    cls_token: NamedToken = UNSET
    mask_token: NamedToken = UNSET
    extra_special_tokens: list[Token] | dict[str, Token] | None = None
    additional_special_tokens: list[Token] | None = None

    @property
    def extra(self) -> list[Token]:
        """Special tokens without a name of their own."""
        extra = self.extra_special_tokens or self.additional_special_tokens or []
        return list(extra.values()) if isinstance(extra, dict) else extra

    @property
    def given(self) -> list[Token]:
        """Every token that the file gives."""
        named: list[NamedToken] = [getattr(self, name) for name in NAMES]
        return [token for token in named if isinstance(token, str | AddedToken)] + self.extra


NAMES = tuple(name for name in SpecialTokens.__struct_fields__ if name.endswith("_token"))
# What CLIP's tokenizer has where no file says.
DEFAULTS: Mapping[str, Token | None] = {
    **dict.fromkeys(NAMES),
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}


@dataclass(frozen=True)
class AddedVocabulary:
    """What is added to a vocabulary.

    Attributes:
        tokens: id to token.
        named: `bos_token` and so on to what is written in the text.
    """

    tokens: Mapping[int, AddedToken]
    named: Mapping[str, str | None]


def merge(config: SpecialTokens, legacy: SpecialTokens) -> SpecialTokens:
    """What `config` names, overruled by `special_tokens_map.json` in older folders."""
    named: dict[str, NamedToken] = {name: getattr(legacy, name) for name in NAMES}
    given = {name: token for name, token in named.items() if token is not UNSET}
    extra = [*config.extra, *_finish(legacy.extra, map(content, legacy.extra))]
    return msgspec.structs.replace(config, **given, extra_special_tokens=extra)


def add_tokens(
    vocab: Mapping[str, int], declared: Mapping[int, AddedToken], special: SpecialTokens
) -> AddedVocabulary:
    """Give each added token its id: the vocabulary's, or the next one free.

    Args:
        vocab: token to id.
        declared: the tokens that the files list with an id. The reference takes nothing from these
            ids but their order, and nor does this.
        special: the special tokens.
    """
    named = {
        name: DEFAULTS[name] if token is UNSET else token
        for name, token in ((name, getattr(special, name)) for name in NAMES)
    }
    adding: list[Token] = [declared[token_id] for token_id in sorted(declared)]
    listed = {content(token) for token in adding}
    for token in [*named.values(), *special.extra]:
        # A token in two forms is added twice; the later one will stay.
        if token is not None and content(token) not in listed and token not in adding:
            adding.append(token)
    contents = {name: None if token is None else content(token) for name, token in named.items()}
    return AddedVocabulary(_number(vocab, _finish(adding, contents.values())), contents)


def content(token: Token) -> str:
    """What is written in the text."""
    return token if isinstance(token, str) else token.content


def _finish(tokens: Iterable[Token], named: Iterable[str | None]) -> Iterable[AddedToken]:
    """Tokens that are a mere string, or that have a name, are special."""
    special = set(named)
    for token in tokens:
        if isinstance(token, str):
            yield AddedToken(token, special=True)
        else:
            yield msgspec.structs.replace(token, special=token.special or token.content in special)


def _number(vocab: Mapping[str, int], tokens: Iterable[AddedToken]) -> dict[int, AddedToken]:
    new: dict[str, int] = {}
    numbered: dict[int, AddedToken] = {}
    for token in tokens:
        if token.content in vocab:
            numbered[vocab[token.content]] = token
        elif token.content:
            numbered[new.setdefault(token.content, len(vocab) + len(new))] = token
    return numbered
