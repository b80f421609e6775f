"""Byte pairs against the tokenizers library's, on small alphabets where ranks tie."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from tokenizers.models import BPE

from runtimes.byte_pairs import BYTE_SYMBOLS, BytePairs, decode_tokens

LETTERS = "abc"
VOCAB = {
    token: number
    for number, token in enumerate(
        a + b + c + end
        for a in ["", *LETTERS]
        for b in ["", *LETTERS]
        for c in LETTERS
        for end in ("", "</w>")
        if a == "" or b != ""
    )
}
UNKNOWN = VOCAB["c</w>"]
PARTS = st.sampled_from([token for token in VOCAB if len(token.removesuffix("</w>")) < 3])
MERGES = st.lists(
    st.tuples(PARTS, PARTS).filter(lambda pair: pair[0] + pair[1] in VOCAB), max_size=20
)


def reference(merges: list[tuple[str, str]], vocab: dict[str, int]) -> BPE:
    return BPE(vocab, merges, unk_token="c</w>", end_of_word_suffix="</w>")


@given(MERGES, st.text(LETTERS, min_size=1, max_size=40))
def test_merges_in_the_order_of_the_library(merges: list[tuple[str, str]], word: str) -> None:
    """Repeated merges, ranks that tie, and two pairs that make one token included."""
    expected = [token.id for token in reference(merges, VOCAB).tokenize(word)]
    assert list(BytePairs(VOCAB, merges, UNKNOWN).encode(word)) == expected


@given(MERGES, st.text(LETTERS + "xé", min_size=1, max_size=20))
def test_an_unknown_byte_is_one_unknown_token(merges: list[tuple[str, str]], word: str) -> None:
    written = word.encode().decode("latin-1").translate(BYTE_SYMBOLS)
    expected = [token.id for token in reference(merges, VOCAB).tokenize(written)]
    assert list(BytePairs(VOCAB, merges, UNKNOWN).encode(word)) == expected


def test_a_long_word_is_not_quadratic() -> None:
    """A pass over the word for each of 20,000 merges would take minutes; the heap some 50 ms."""
    pairs = BytePairs(VOCAB, [("a", "b"), ("ab", "c"), ("c", "a")], UNKNOWN)
    start = time.process_time()
    ids = pairs.encode("abc" * 20_000)
    assert time.process_time() - start < 3
    assert ids == (VOCAB["abc"],) * 19_999 + (VOCAB["ab"], VOCAB["c</w>"])


def test_every_byte_has_a_printable_sign_of_its_own() -> None:
    assert len(set(BYTE_SYMBOLS.values())) == len(BYTE_SYMBOLS) == 256
    assert all(symbol.isprintable() and symbol != " " for symbol in BYTE_SYMBOLS.values())


def test_decoding_what_is_no_text() -> None:
    """A cut character becomes U+FFFD; a token that is not made of byte signs stands as it is."""
    assert decode_tokens(["Ã", "©</w>", "Ã", "日本", "a</w>"]) == "é \ufffd日本a"
