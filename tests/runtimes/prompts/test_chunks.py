"""Where long prompts are split; the references' embeddings are compared beside the syntaxes."""

from __future__ import annotations

import pytest

from runtimes.prompts.chunks import Token, split_at_sentences, split_near_commas

COMMA = 9
WRITTEN = {1: "a", 2: "b</w>", 3: ".</w>", 4: ";</w>"}


def tokens(*ids: int) -> list[Token]:
    return [Token(i) for i in ids]


def ids(chunks: list[list[Token]]) -> list[list[int]]:
    return [[token.id for token in chunk] for chunk in chunks]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [[]]),
        ([1, 2, 3], [[1, 2, 3]]),
        ([1, 2, 3, 4], [[1, 2, 3], [4]]),
        ([1, COMMA, 3, 4], [[1, COMMA], [3, 4]]),
        ([1, 2, COMMA, 4], [[1, 2, COMMA], [4]]),
        # A comma that is next moves nothing, and isn't looked back to.
        ([1, COMMA, 3, COMMA], [[1, COMMA, 3], [COMMA]]),
        ([1, 2, 3, COMMA, 5, 6, 7], [[1, 2, 3], [COMMA, 5, 6], [7]]),
    ],
)
def test_chunks_end_behind_a_near_comma(given: list[int], expected: list[list[int]]) -> None:
    assert ids(split_near_commas(tokens(*given), 3, COMMA)) == expected


@pytest.mark.parametrize(("place", "first"), [(54, 75), (55, 56), (73, 74)])
def test_commas_further_back_than_twenty_tokens_count_for_nothing(place: int, first: int) -> None:
    given = [1] * place + [COMMA] + [1] * (80 - place)
    assert len(split_near_commas(tokens(*given), 75, COMMA)[0]) == first


def test_without_a_comma_token_chunks_are_full() -> None:
    assert ids(split_near_commas(tokens(1, COMMA, 3, 4), 3, None)) == [[1, COMMA, 3], [4]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], [[]]),
        ([1, 3, 2], [[1, 3, 2]]),
        ([3, 4, 2, 2], [[3], [4, 2, 2]]),
        ([2, 4, 1, 2], [[2, 4], [1, 2]]),
        ([2, 1, 1, 2], [[2], [1, 1, 2]]),
        ([1, 1, 1, 1, 2], [[1, 1, 1], [1, 2]]),
    ],
    ids=["none", "fits", "sentence", "phrase", "word", "full"],
)
def test_chunks_end_with_sentences_phrases_or_words(
    given: list[int], expected: list[list[int]]
) -> None:
    assert ids(split_at_sentences(tokens(*given), 3, WRITTEN.__getitem__)) == expected
