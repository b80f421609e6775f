"""The web UI's syntax against its published algorithm, written apart in `web_ui.py`."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from runtimes.errors import UsageError
from runtimes.prompts.a1111 import parse
from runtimes.prompts.fragments import Fragment, quoted
from runtimes.prompts.plan import plan
from tests.runtimes.prompts import web_ui
from tests.runtimes.prompts.words import Words, close

PROMPTS = [
    "",
    "a house",
    "a (word)",
    "a ((word))",
    "a [word]",
    "a [[word]] b",
    "an (important:1.3) word",
    "(a (nested:1.5) one:0.8)",
    "(unclosed",
    "unopened)",
    "((a) b",
    "[(a) b",
    "a]",
    r"a \(literal\) and \[this\]",
    r"back\\slash and \lone",
    "(house:.5)",
    "( house : 1.2 )",
    "(house:-1)",
    "(a:b:1.2)",
    "(word:abc)",
    "word: colon",
    "(a:1.2",
    ":1.3) at the start",
    "(赤い丸:1.3) über ■",
    "(a)(b)(c:1.1)",
]


def flat(prompt: str) -> web_ui.Weighted:
    (section,) = parse(prompt)
    return [(fragment.text, fragment.weight) for fragment in section]


def without_empty(found: web_ui.Weighted) -> web_ui.Weighted:
    """Empty texts have no tokens; the two readings leave different ones."""
    kept: web_ui.Weighted = []
    for text, weight in found:
        if kept and kept[-1][1] == weight:
            kept[-1] = (kept[-1][0] + text, weight)
        elif text:
            kept.append((text, weight))
    return kept


def assert_alike(prompt: str) -> None:
    found, expected = without_empty(flat(prompt)), without_empty(web_ui.read(prompt))
    assert [text for text, _ in found] == [text for text, _ in expected], prompt
    assert [w for _, w in found] == pytest.approx([w for _, w in expected], rel=1e-12), prompt


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_read_as_the_web_ui_reads_them(prompt: str) -> None:
    assert_alike(prompt)


def test_any_brackets_are_read_as_the_web_ui_reads_them() -> None:
    rng = random.Random(0)
    atoms = [*"()[](),", ":1.3)", ":0.5)", "\\(", "\\]", "\\", "a", "cat", " ", "é", ":"]
    for _ in range(400):
        prompt = "".join(rng.choice(atoms) for _ in range(rng.randint(1, 10)))
        if not re.search(r"\[[^\[\]]*:\s*\d", prompt):
            assert_alike(prompt)


def test_break_separates_sections() -> None:
    found = parse("a BREAK (b BREAK c:2)BREAKER")
    # Empty texts have no tokens.
    assert [[each for each in section if each.text] for section in found] == [
        [Fragment("a")],
        [Fragment("b", 2.0)],
        [Fragment("c", 2.0), Fragment("BREAKER")],
    ]


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("(word:1.2.3)", "the weight '1.2.3' is not a number; write (text:1.3)."),
        ("(" * 100 + "x", "'x' has the weight 13780.6; at most 1000."),
        ("(word:99999)", "'word' has the weight 99999; at most 1000."),
        ("(word:-" + "9" * 400 + ")", "'word' has the weight -inf; at most 1000."),
        ("(word:.)", "the weight '.' is not a number; write (text:1.3)."),
        ("a [cat:dog:0.5]", "prompt editing, [from:to:when], is not supported by prompt_syntax"),
        ("a [dog:10]", "prompt editing, [from:to:when], is not supported"),
        ("a [cat|dog]", "alternatives, [a|b], is not supported"),
        ("a cat AND a dog", "composition with AND, is not supported"),
        ("a cat <lora:x:1>", "networks named in the prompt, <lora:name:1>, is not supported"),
    ],
)
def test_what_cannot_be_followed_is_refused(prompt: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(prompt)
    assert str(raised.value).startswith(f"prompt {quoted(prompt)}: {reason}")


LONG = ", ".join(f"(a{'b' * (n % 7)}:1.{n % 4}) cat on a mat" for n in range(40))


@pytest.mark.parametrize(
    "prompt",
    [
        "a (red:1.4) circle, [blue] square",
        "a circle BREAK a (square:1.5)",
        "BREAK a",
        "a BREAK",
        "a " * 75,
        "a " * 76,
        LONG,
        "x" * 400,
    ],
    ids=["weights", "break", "break-first", "break-last", "full", "over", "long", "word"],
)
def test_tokens_and_embeddings_are_the_web_uis(words: Words, prompt: str) -> None:
    tokenizer = words.reference_tokenizer

    def tokens(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"]

    sections = [
        [(token, weight) for text, weight in web_ui.read(part) for token in tokens(text)]
        for part in re.split(r"\s*\bBREAK\b\s*", prompt)
    ]
    (comma,) = tokens(",")
    chunked = web_ui.chunks(sections, comma)
    found = plan(prompt, words.tokenizer, "a1111", "chunks")
    assert [[i for i in row if i != words.tokenizer.pad_token_id][1:] for row in found.rows] == [
        [token for token, _ in chunk] for chunk in chunked
    ]
    embeddings = found.assemble(words.states)
    assert embeddings.shape == (77 * found.chunks, 32)
    # The mean of a chunk is 100 times smaller than its values, and float32's error of it goes into
    # every value of the reference.
    expected = web_ui.embeddings(chunked, tokenizer, words.text_encoder)
    close(embeddings, expected, tolerance=1e-4)


def test_ten_thousand_brackets_are_read() -> None:
    (section,) = parse("(a" * 60 + ")b" * 60 + "[c" * 4000)
    assert section[59].weight == pytest.approx(1.1**60 / 1.1**0)
    assert len(section) > 4000


def test_long_example_moves_text_after_a_comma(words: Words) -> None:
    lengths = [
        sum(i != words.tokenizer.pad_token_id for i in row) - 1
        for row in plan(LONG, words.tokenizer, "a1111", "chunks").rows
    ]
    assert min(lengths[:-1]) < 75, "the example's chunks are all full: it tests no comma"


def test_weights_change_the_embeddings_and_keep_their_mean(words: Words) -> None:
    plain = plan("a red circle", words.tokenizer, "plain", "truncate").assemble(words.states)
    found = plan("a (red:1.4) circle", words.tokenizer, "a1111", "truncate").assemble(words.states)
    assert np.abs(found - plain).max() > 0.1
    assert found.mean(dtype=np.float64) == pytest.approx(plain.mean(dtype=np.float64), rel=1e-4)


def test_truncated_prompts_say_what_was_dropped(words: Words) -> None:
    found = plan("a " * 75 + "(big:1.2) cat BREAK dog", words.tokenizer, "a1111", "truncate")
    assert (found.chunks, found.dropped) == (1, "big cat dog")
