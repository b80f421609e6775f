"""Byte-pair encoding: words to the ids of a vocabulary and back.

Source: Sennrich, Haddow & Birch, "Neural machine translation of rare words with subword units"
(2016), over bytes as in GPT-2 (Radford et al., 2019), with CLIP's `</w>` on a word's last symbol.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Final

END_OF_WORD: Final = "</w>"
# A word is remembered when it is short, and so many words are: the memory stays below 10 MB.
_CACHED_WORDS = 8192
_CACHED_WORD_LENGTH = 128


def _byte_symbols() -> dict[int, str]:
    """One printable character for each byte: itself, or the next free one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    return symbols | {byte: chr(0x100 + i) for i, byte in enumerate(rest)}


BYTE_SYMBOLS: Final = _byte_symbols()
_SYMBOL_BYTES: Final = {symbol: byte for byte, symbol in BYTE_SYMBOLS.items()}


class BytePairs:
    """The encoding of one vocabulary.

    Args:
        vocab: token to id.
        merges: pairs of tokens, the one to merge first at the front. Both tokens, and the two
            written together, are in `vocab`.
        unk_token_id: the id of a symbol that `vocab` lacks.
    """

    def __init__(
        self, vocab: Mapping[str, int], merges: Iterable[tuple[str, str]], unk_token_id: int
    ) -> None:
        self._vocab = vocab
        self._unk_token_id = unk_token_id
        # A pair that is listed twice has its last rank, as in the reference.
        self._merges = {
            (vocab[left], vocab[right]): (rank, vocab[left + right])
            for rank, (left, right) in enumerate(merges)
        }
        self._encode_short = lru_cache(_CACHED_WORDS)(self._encode)

    def encode(self, word: str) -> tuple[int, ...]:
        """Give the ids of one word."""
        return self._encode_short(word) if len(word) <= _CACHED_WORD_LENGTH else self._encode(word)

    def _encode(self, word: str) -> tuple[int, ...]:
        symbols = list(word.encode().decode("latin-1").translate(BYTE_SYMBOLS))
        symbols[-1] += END_OF_WORD
        return self._merge([self._vocab.get(symbol, self._unk_token_id) for symbol in symbols])

    def _merge(self, ids: list[int]) -> tuple[int, ...]:
        """Merge the pair of lowest rank, the leftmost of equals, until none is left.

        A heap holds the pairs, so a word of n symbols takes n log n steps. Pairs that a merge has
        taken apart stay in it and are passed over when they surface.
        """
        end = len(ids)
        following, preceding = [*range(1, end + 1)], [*range(-1, end - 1)]
        known = self._merges
        heap = [(*known[pair], left) for left, pair in enumerate(pairwise(ids)) if pair in known]
        # By rank, then place: the merged id in between is the same wherever the rank is.
        heapq.heapify(heap)
        while heap:
            _, merged, left = heapq.heappop(heap)
            right = following[left]
            # What is compared is the merged token, not the rank: two pairs can make the same one.
            if right >= end or known.get((ids[left], ids[right]), (0, None))[1] != merged:
                continue
            ids[left], ids[right] = merged, -1
            after, before = following[right], preceding[left]
            following[left], following[right] = after, end
            if after < end:
                preceding[after] = left
                if entry := known.get((merged, ids[after])):
                    heapq.heappush(heap, (*entry, left))
            if before >= 0 and (entry := known.get((ids[before], merged))):
                heapq.heappush(heap, (*entry, before))
        return tuple(token_id for token_id in ids if token_id >= 0)


def decode_tokens(tokens: Iterable[str]) -> str:
    """Write tokens as text, with a space for each end of a word.

    Bytes that are no UTF-8, as where a character was cut through, become U+FFFD.
    """
    data = bytearray()
    for token in tokens:
        if all(symbol in _SYMBOL_BYTES for symbol in token):
            data += bytes(_SYMBOL_BYTES[symbol] for symbol in token)
        else:
            data += token.encode()
    return data.decode(errors="replace").replace(END_OF_WORD, " ").strip()
