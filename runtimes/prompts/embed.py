"""A call's prompts, encoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.inputs import Inputs
from runtimes.parts import Parts
from runtimes.prompts.branches import Branch, Given, Texts, Written, Zeros, branches_of, texts_of
from runtimes.prompts.chunks import Embeddings, Row, empty_row
from runtimes.prompts.encoders import CONTEXT, UNET, Encoder, input_width, takes_text, text_encoders
from runtimes.prompts.fragments import quoted
from runtimes.prompts.given import embeddings_sha256
from runtimes.prompts.plan import Plan, plan
from runtimes.settings import Settings
from runtimes.timings import Stopwatch
from runtimes.tokenizer import ClipTokenizer

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
class Reader:
    """A U-Net's view of a call's prompts.

    Attributes:
        encoders: whose states it takes, side by side.
        branches: what is encoded, by its name in `Prompted`.
    """

    encoders: tuple[Encoder, ...]
    branches: Mapping[str, Branch]

    def texts(self, name: str) -> list[str]:
        """The distinct texts that an encoder reads; none if it isn't one of these."""
        for place, each in enumerate(self.encoders):
            if each.name == name:
                return texts_of(self.branches.values(), place)
        return []


def embed(
    bundle: Bundle,
    parts: Parts,
    settings: Settings,
    inputs: Inputs,
    watch: Stopwatch,
    unets: Sequence[str] = (UNET,),
) -> list[Prompted]:
    """Text embeddings of each picture, those of one prompt side by side, for each U-Net.

    Of no tokens for a U-Net that takes no text.

    Args:
        bundle: whose U-Net takes them.
        parts: with the text encoders, which aren't touched where all embeddings are given.
        settings: with the prompts.
        inputs: with embeddings that were given in place of prompts.
        watch: takes the stages' times.
        unets: the components that take them.

    Raises:
        UsageError: the settings were made for other embeddings.
        EngineError: a text encoder failed or gave NaN.

    Warns:
        PromptTruncated: a text is too long; says what was dropped.
    """
    if embeddings_sha256(inputs) != settings.embeddings_sha256:
        raise UsageError(
            "these settings were made with other prompt embeddings; give the same prompt_embeds "
            "(and negative_prompt_embeds) again."
        )
    if not takes_text(bundle):
        return [Prompted(np.zeros((settings.count, 0, 0), np.float32)) for _ in unets]
    texts = Texts.of(settings)
    readers = [reader_of(bundle, unet, settings.clip_skip, texts, inputs) for unet in unets]
    found = encode(parts, readers, texts, watch, caller=_CALLER)
    return [_repeated(each, settings.num_images_per_prompt) for each in found]


def reader_of(bundle: Bundle, unet: str, clip_skip: int, texts: Texts, inputs: Inputs) -> Reader:
    """What a U-Net of a bundle takes of texts and given embeddings.

    A refiner takes of SDXL's given embeddings the columns of the encoder that it knows, the last
    ones. Where nothing was said against, its own habit says whether zeros stand for that.
    """
    encoders = text_encoders(bundle, clip_skip, unet)
    refiner = bundle.manifest.refiner
    if refiner is None or unet != refiner.component:
        return Reader(encoders, branches_of(texts, inputs))
    zeros = texts.zeros and refiner.conditioning.force_zeros_for_empty_prompt
    branches = branches_of(replace(texts, zeros=zeros), inputs)
    width = input_width(bundle.graph(unet), CONTEXT)
    return Reader(
        encoders,
        {name: b.last(width) if isinstance(b, Given) else b for name, b in branches.items()},
    )


def _repeated(prompted: Prompted, count: int) -> Prompted:
    each = {
        name: None if rows is None else np.repeat(rows, count, axis=0)
        for name, rows in vars(prompted).items()
    }
    return replace(prompted, **each)


def encode(
    parts: Parts, readers: Sequence[Reader], texts: Texts, watch: Stopwatch, *, caller: int
) -> list[Prompted]:
    """Text embeddings of each prompt; each encoder reads each distinct text once, all in one call.

    Args:
        parts: as of `embed`.
        readers: who takes them.
        texts: how they are read.
        watch: as of `embed`.
        caller: frames from here up to the one that a warning speaks to.

    Returns:
        What each reader takes.
    """
    encoders = {each.name: each for reader in readers for each in reader.encoders}
    with watch.lap("tokenize"):
        planned = {
            name: {
                text: plan(text, parts.tokenizers[name], texts.prompt_syntax, texts.long_prompts)
                for text in dict.fromkeys(t for reader in readers for t in reader.texts(name))
            }
            for name in encoders
        }
    _warn_truncated(parts.tokenizers, planned, caller + 1)
    lengths = [_lengths(reader, planned, parts.tokenizers) for reader in readers]
    filled = any(len(each) > 1 for each in lengths)
    read = {
        name: _read(parts, _roles(readers, name), plans, watch, name, filled=filled)
        for name, plans in planned.items()
    }
    return [
        _assembled(reader, read, max(found)) for reader, found in zip(readers, lengths, strict=True)
    ]


@dataclass(frozen=True)
class _Read:
    """What an encoder made of its texts.

    Attributes:
        plans: by text.
        states: by role, by row of ids; pooled ones too.
        empty: the row of the empty text.
    """

    plans: Mapping[str, Plan]
    states: Mapping[str, Mapping[Row, Embeddings]]
    empty: Row

    def tokens(self, texts: Sequence[str], role: str, length: int) -> Embeddings:
        """States of texts, [n, length, d]."""
        states = self.states[role]
        found = [self.plans[text].assemble(states.__getitem__) for text in texts]
        return np.stack([self._filled(each, role, length) for each in found])

    def pooled(self, texts: Sequence[str], role: str) -> Embeddings:
        """Pooled embeddings of texts, [n, d]: of their first chunk."""
        return np.stack([self.states[role][self.plans[text].rows[0]] for text in texts])

    def filler(self, role: str, count: int) -> Embeddings:
        """States of the empty text over and over, [count, d]."""
        chunk = self.states[role][self.empty]
        return np.tile(chunk, (count // len(chunk), 1))

    def _filled(self, found: Embeddings, role: str, length: int) -> Embeddings:
        missing = length - len(found)
        return np.concatenate([found, self.filler(role, missing)]) if missing else found


def _lengths(
    reader: Reader,
    planned: Mapping[str, Mapping[str, Plan]],
    tokenizers: Mapping[str, ClipTokenizer],
) -> set[int]:
    """How many tokens the parts of a reader's embeddings have."""
    found = {b.states.shape[1] for b in reader.branches.values() if isinstance(b, Given)}
    for each in reader.encoders:
        chunk = tokenizers[each.name].model_max_length
        found |= {planned[each.name][text].chunks * chunk for text in reader.texts(each.name)}
    return found


def _roles(readers: Sequence[Reader], name: str) -> list[str]:
    """The roles that readers take of an encoder, each once."""
    encoders = [each for reader in readers for each in reader.encoders if each.name == name]
    return list(dict.fromkeys(role for each in encoders for role in each.roles))


def _read(
    parts: Parts,
    roles: Sequence[str],
    plans: Mapping[str, Plan],
    watch: Stopwatch,
    name: str,
    *,
    filled: bool,
) -> _Read:
    """Runs an encoder on every distinct row at once; not at all where there is none."""
    empty = empty_row(parts.tokenizers[name])
    rows: list[Row] = [row for each in plans.values() for row in each.rows]
    distinct = list(dict.fromkeys([*rows, empty] if filled else rows))
    if not distinct:
        return _Read(plans, {}, empty)
    ids = np.array(distinct, np.int64)
    with parts.use(name, watch) as text_encoder, watch.lap("text_encoder"):
        found = text_encoder.run(roles, {"input_ids": ids})
    states = {
        role: dict(zip(distinct, list(values), strict=True)) for role, values in found.items()
    }
    return _Read(plans, states, empty)


def _assembled(reader: Reader, read: Mapping[str, _Read], length: int) -> Prompted:
    """What a reader takes, from what its encoders made."""
    found: dict[str, Embeddings | None] = {}
    for name, branch in reader.branches.items():
        if isinstance(branch, Zeros):
            # The prompts' own branch comes first.
            found[name] = _zeros_like(found["cond"])
            found[f"pooled_{name}"] = _zeros_like(found["pooled_cond"])
        else:
            found[name] = _tokens(reader.encoders, branch, read, length, prompts=name == "cond")
            found[f"pooled_{name}"] = _pooled(reader.encoders, branch, read)
    cond = found.pop("cond")
    assert cond is not None
    return Prompted(cond, **found)


def _tokens(
    encoders: Sequence[Encoder],
    branch: Written | Given,
    read: Mapping[str, _Read],
    length: int,
    *,
    prompts: bool,
) -> Embeddings:
    """States of a branch from all encoders, side by side: [n, length, d]."""
    roles = [each.states if prompts else each.plain for each in encoders]
    pairs = list(zip((read[each.name] for each in encoders), roles, strict=True))
    if isinstance(branch, Given):
        missing = length - branch.states.shape[1]
        if not missing:
            return branch.states
        filler = np.concatenate([each.filler(role, missing) for each, role in pairs], axis=-1)
        rows = np.broadcast_to(filler, (len(branch.states), *filler.shape))
        return np.concatenate([branch.states, rows], axis=1)
    found = [
        each.tokens(branch.of(place), role, length) for place, (each, role) in enumerate(pairs)
    ]
    return np.concatenate(found, axis=-1)


def _pooled(
    encoders: Sequence[Encoder], branch: Written | Given, read: Mapping[str, _Read]
) -> Embeddings | None:
    """The pooled embeddings of a branch, [n, d]; None where no encoder's are taken."""
    if isinstance(branch, Given):
        return branch.pooled
    for place, each in enumerate(encoders):
        if each.pooled is not None:
            return read[each.name].pooled(branch.of(place), each.pooled)
    return None


def _zeros_like(found: Embeddings | None) -> Embeddings | None:
    return None if found is None else np.zeros_like(found)


def _warn_truncated(
    tokenizers: Mapping[str, ClipTokenizer], planned: Mapping[str, Mapping[str, Plan]], caller: int
) -> None:
    """Warns once of each text that some encoder doesn't get whole."""
    dropped: dict[str, tuple[str, int]] = {}
    for name, plans in planned.items():
        for text, each in plans.items():
            if each.dropped:
                dropped.setdefault(text, (each.dropped, tokenizers[name].model_max_length))
    for rest, length in dropped.values():
        warnings.warn(
            f"a prompt has more than {length} tokens; its end was dropped: {quoted(rest)}",
            PromptTruncated,
            stacklevel=caller,
        )
