"""compel's syntax and weights against compel itself."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from compel import Compel, DownweightMode
from compel.prompt_parser import Blend as CompelBlend
from compel.prompt_parser import PromptParser

from runtimes.errors import UsageError
from runtimes.prompts.compel import Blend, Conjunction, parse
from runtimes.prompts.plan import plan
from tests.runtimes.prompts.words import Words, close

PARSER = PromptParser()

PROMPTS = [
    "",
    "a house",
    "a word++ and another--",
    "(two words)1.3",
    "(two words)++ here",
    "((nested)1.1 words)0.8",
    '"quoted text"1.4 and "more"-',
    "word.attend(1.5), (two words).attend(--)",
    "hello,world++",
    "blue-green a-- b+c",
    r"a \(literal\) one",
    "(unclosed",
    "unopened)",
    "(a = b)++",
    "(1.5 apples)1.2",
    "(赤い丸)1.3 über ■",
    "()",
    "+ - ++",
    '("a cat", "two dogs").blend(1, 0.5)',
    '("a++ b", c).blend(0.5, 0.7, no_normalize)',
    '("a cat", "a dog").blend()',
    '("a cat", "a dog").and()',
    '("a++ cat", "a (big)0.5 dog").and(1, 0.3)',
    '("a = b", "c").blend(0.3, 0.7)',
]
ATOMS = [
    *["a", "cat", "(", ")", "(", ")", "++", "-", "+", "1.3", "0.5", " ", " ", ",", ".", '"'],
    *["\\(", "\\)", '\\"', "=", "(two words)", "(red hat)1.4", "word++", '"big dog"--', "-5"],
    *["a-b", "x.attend(1.2)", ".attend(++)", "é", "赤い", "\\", "'s", "(a, b)0.2", "\n"],
]


def theirs(prompt: str) -> object:
    found = PARSER.parse_conjunction(prompt)

    def flat(each: Any) -> list[tuple[str, float]]:
        return [(child.text, child.weight) for child in each.children]

    parts = [
        ([flat(p) for p in part.prompts], part.weights, part.normalize_weights)
        if isinstance(part, CompelBlend)
        else flat(part)
        for part in found.prompts
    ]
    # Where nothing is left of a prompt, compel has no part, and can't go on; we have the empty one.
    return (parts, found.weights) if parts else ([[("", 1.0)]], [1.0])


def ours(found: Conjunction) -> object:
    def flat(each: Any) -> list[tuple[str, float]]:
        return [(fragment.text, fragment.weight) for fragment in each]

    parts = [
        ([flat(p) for p in part.prompts], list(part.weights), part.normalised)
        if isinstance(part, Blend)
        else flat(part)
        for part in found.parts
    ]
    return parts, list(found.weights)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_read_as_compel_reads_them(prompt: str) -> None:
    assert ours(parse(prompt)) == theirs(prompt)


def test_any_signs_are_read_as_compel_reads_them() -> None:
    rng = random.Random(0)
    for _ in range(120):
        prompt = "".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 8)))
        assert ours(parse(prompt)) == theirs(prompt), prompt


@pytest.mark.parametrize("prompt", ["(" * 49 + "a" + ")" * 49, "( " * 49, '"' * 300, "a(" * 20])
def test_nothing_is_read_twice_at_each_depth(prompt: str) -> None:
    # compel takes twice as long with each bracket; two to the power of 49 would not end.
    (part,) = parse(prompt).parts
    assert not isinstance(part, Blend)
    assert all(fragment.weight == 1 for fragment in part)


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("a cat.swap(dog)", ".swap() is not supported by prompt_syntax 'compel'; take it out."),
        ("a cat withLora(x, 1)", "withLora() is not supported by prompt_syntax 'compel'"),
        ('("a", "b").blend(1, x)', "the weight 'x' of .blend() is not a number."),
        ('("a", "b").and(1, no_normalize)', "the weight 'no_normalize' of .and() is not a"),
        ('("a", "b").blend(1)', ".blend() has 1 weights for 2 prompts."),
        ('("a", "b").blend(1, -1)', "the weights of .blend() add up to 0; give others."),
        (
            '("a", "b").blend(1, -0.9999)',
            "a prompt of .blend() has the weight 10000; at most 1000.",
        ),
        ('("a", "b").blend(1, 2e3, no_normalize)', "the weight '2e3' of .blend() is not a number."),
        ('("a", "b").blend(1, 2000, no_normalize)', "a prompt of .blend() has the weight 2000;"),
        ('("a", "b").and(1, 2000)', "a prompt of .and() has the weight 2000; at most 1000."),
        ('("a", "b").and() c', "nothing may follow .and(…), but 'c' does."),
        ("(" * 60 + "a" + ")" * 60, "its brackets nest deeper than 50."),
        ("(a)99999", "'a' has the weight 99999; at most 1000."),
        ("a \x0c b", "it holds '\\x0c'; take it out."),
    ],
)
def test_what_cannot_be_followed_is_refused(prompt: str, reason: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(prompt)
    assert str(raised.value).startswith(f"prompt {prompt!r}: {reason}")


SENTENCE = "a large red circle above a small blue square on a white background"
LONG = f"{SENTENCE}. a (tall tree)1.3, {SENTENCE}; {SENTENCE}. {SENTENCE}, end"


@pytest.mark.parametrize("truncate", [True, False], ids=["truncate", "chunks"])
@pytest.mark.parametrize(
    "prompt",
    [
        "a red circle",
        "a red++ circle and (a square)1.3",
        "a red-- circle (above a)0.5 square (on white)0",
        "a (big (red)1.5 thing)0.6 here",
        '("a red circle", "a blue++ square").blend(1, 0.5)',
        '("a red circle", "a (blue)0.4 square").and(1, 0.7)',
        LONG,
        "circle " * 80,
        "x" * 200,
    ],
    ids=["plain", "up", "down", "both", "blend", "and", "long", "words", "word"],
)
def test_tokens_and_embeddings_are_compels(words: Words, prompt: str, truncate: bool) -> None:
    compel = Compel(
        words.reference_tokenizer,
        words.text_encoder,
        truncate_long_prompts=truncate,
        # The exported text encoder has no mask: see `runtimes.prompts.compel_weights`.
        downweight_mode=DownweightMode.REMOVE,
    )
    expected: Any = compel(prompt)
    found = plan(prompt, words.tokenizer, "compel", "truncate" if truncate else "chunks")
    embeddings = found.assemble(words.states)
    assert embeddings.dtype == np.float32
    close(embeddings, expected[0].numpy())
    if "(" not in prompt:
        both: Any = compel.build_conditioning_tensor(prompt, return_tokenization=True)
        rows = [i for row in found.rows[:-1] for i in row]
        assert rows == both[1].flatten().tolist()


def test_too_many_lowered_fragments_are_refused(words: Words) -> None:
    with pytest.raises(UsageError) as raised:
        plan("a- b " * 65, words.tokenizer, "compel", "truncate")
    assert str(raised.value) == (
        "a prompt has 65 fragments of weights below 1, and is encoded without each of them; at "
        "most 64."
    )


def test_long_example_ends_chunks_with_sentences(words: Words) -> None:
    rows = plan(LONG, words.tokenizer, "compel", "chunks").rows[:-1]
    ends = [
        words.tokenizer.token([i for i in row if i != words.tokenizer.pad_token_id][-1])
        for row in rows
    ]
    assert len(rows) >= 2
    assert ends[0] == ".</w>"


def test_prompts_that_lose_a_chunk_are_filled_up(words: Words) -> None:
    # compel fails here: its tensors with and without the text differ in length.
    prompt = "a cat (" + "tree " * 80 + ")0.5"
    found = plan(prompt, words.tokenizer, "compel", "chunks")
    assert found.chunks >= 2
    assert np.isfinite(found.assemble(words.states)).all()


def test_truncated_prompts_say_what_was_dropped(words: Words) -> None:
    found = plan("a " * 75 + "(big)1.2 cat", words.tokenizer, "compel", "truncate")
    assert (found.chunks, found.dropped) == (1, "big cat")
