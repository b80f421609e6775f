"""The tokenizer against transformers' on the same files: a synthetic vocabulary of CLIP's form."""

# ruff: noqa: RUF001 (characters that look alike are what is tested)

from __future__ import annotations

import json
import random
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, trainers
from transformers import AddedToken, CLIPTokenizer

from runtimes import unicode_tables
from runtimes.byte_pairs import BYTE_SYMBOLS
from runtimes.errors import LatedgeError, UsageError
from runtimes.tokenizer import ClipTokenizer
from runtimes.tokenizer_text import normalize, split_words

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
ALPHABETS = (
    "abcdefghijklmnoprstuvwy",
    "абвгдеийклмно",
    "αβγδεστς",
    "كتابهم",
    "कखगिीु",
    "日本画犬猫",
    "가나다라",
)
SINGLES = ["😀", "👍🏽", "👩‍👩‍👧", "!", "...", "'s", "'ll", "7", "٣", "½", "é", "ß", "ﬁ", "—", "&"]

# What the rules turn on. Combining marks in orders that composition changes, marks and a vowel
# that the library's older composition doesn't know, jamo, capitals that lowercase oddly, spaces
# that only some call so, special tokens whole, broken, and made by lowercasing alone.
FRAGMENTS = [
    *["e\u0301", "a\u0323\u0301", "a\u0301\u0323", "q\u0345\u0301"],
    *["\u0301", "\u0344", "\u212b", "\u2126"],
    *["\u08d3\u0301", "a\u1dfa\u0316", "\U00011935\U00011930", "\U00011938", "\u0eba\u0ec8"],
    *["\u1100\u1161\u11a8", "\uac00\u11a8", "\u1100", "\u1161", "\uac01"],
    *["İ", "I\u0307", "ı", "ΑΣ", "Σ", "ς", "ẞ", "ß", "Ǆ", "ǅ", "ﬁ", "ŉ", "ſ", "K", "Ꭰ", "Ა", "𐐀"],
    *[" ", "  ", "\t", "\n", "\r\n", "\x0b", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u180e"],
    *["\u2003", "\u200b", "\u2028", "\u202f", "\u3000", "\ufeff", "\x00", "\x7f", "\xad", "\u200d"],
    *["'", "'s", "'S", "'t", "'re", "'VE", "'m", "'ll", "'D", "’s", "don't", "''s", "'ſ"],
    *["1", "42", "٣", "½", "Ⅷ", "²", "一", "𝟘", "3.5", "1st"],
    *[BOS, EOS, "<|STARTOFTEXT|>", "<|EndOfText|>", "<|endoftext"],
    *["endoftext|>", "<|", "|>", "<||>"],
    *["!", "!!", "<cat>", "<Big Dog>", "<big dog>", "_", "-"],
    *["…", "😀", "👍🏽", "👩‍👩‍👧", "🏳️‍🌈", "️"],
    *["\U0010ffff", "\ue000", "\ufdd0", "\U00020000", "\U000e0041", "\u0378"],
]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(FRAGMENTS),
        st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=6),
        st.text("abAB 'stredlvm1!", max_size=12),
        *(st.text(alphabet, max_size=8) for alphabet in ALPHABETS),
    ),
    max_size=12,
).map("".join)


@dataclass(frozen=True)
class Both:
    """The reference and ours, of one folder."""

    folder: Path
    reference: CLIPTokenizer
    own: ClipTokenizer

    def expected(self, text: str) -> list[int]:
        return self.reference(text, add_special_tokens=False).input_ids


def corpus() -> list[str]:
    rng = random.Random(0)
    words = ["".join(rng.choices(a, k=rng.randint(1, 7))) for a in ALPHABETS for _ in range(300)]
    return [" ".join(rng.choices(words + SINGLES * 20, k=40)) for _ in range(1500)]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vocab.json and merges.txt in CLIP's order: bytes, bytes that end a word, merges, special."""
    model = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer = trainers.BpeTrainer(vocab_size=3000, end_of_word_suffix="</w>", show_progress=False)
    words = ["".join(BYTE_SYMBOLS[b] for b in w.encode()) for t in corpus() for w in split_words(t)]
    # One word an entry: the trainer is to see the words that the split makes.
    model.train_from_iterator(words, trainer)
    merges = [tuple(merge) for merge in json.loads(model.to_str())["model"]["merges"]]
    symbols = sorted(BYTE_SYMBOLS.values())
    tokens = [*symbols, *(symbol + "</w>" for symbol in symbols), *(a + b for a, b in merges)]
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*tokens, BOS, EOS]))}
    assert len(merges) > 2000
    folder = tmp_path_factory.mktemp("vocabulary")
    write_json(folder / "vocab.json", vocab)
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def old_token(content: str, **flags: bool) -> dict[str, Any]:
    """As transformers 4 wrote it; Stable Diffusion's are `normalized`."""
    token = {"content": content, "lstrip": False, "normalized": True, "rstrip": False}
    return {**token, "single_word": False, **flags}


def bare(folder: Path) -> None:
    """Nothing but vocabulary and merges."""


def sd15(folder: Path) -> None:
    special = {
        "bos_token": old_token(BOS),
        "eos_token": old_token(EOS),
        "unk_token": old_token(EOS),
    }
    write_json(folder / "special_tokens_map.json", {**special, "pad_token": EOS})
    typed = {name: {"__type": "AddedToken", **token} for name, token in special.items()}
    options = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace"}
    config = {**options, **typed, "pad_token": EOS, "model_max_length": 77}
    write_json(folder / "tokenizer_config.json", config)


def sd21(folder: Path) -> None:
    sd15(folder)
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        content = json.loads((folder / name).read_text())
        write_json(folder / name, {**content, "pad_token": "!"})


def sdxl2(folder: Path) -> None:
    vocab = json.loads((folder / "vocab.json").read_text())
    special = [old_token("!", normalized=False, special=True)]
    special += [old_token(BOS, special=True), old_token(EOS, normalized=False, special=True)]
    config = {
        "added_tokens_decoder": {str(vocab[token["content"]]): token for token in special},
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": "!",
        "unk_token": EOS,
        "clean_up_tokenization_spaces": True,
        "model_max_length": 77,
    }
    write_json(folder / "tokenizer_config.json", config)


def short(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"model_max_length": 9})


def textual_inversion(folder: Path) -> None:
    """Tokens of a user's own in transformers 4's added_tokens.json."""
    sd15(folder)
    size = len(json.loads((folder / "vocab.json").read_text()))
    tokens = {"<Big Dog>": size, "<cat": size + 1, "<cat>": size + 2}
    write_json(folder / "added_tokens.json", tokens)


def terse(folder: Path) -> None:
    """Flags left to their defaults, which depend on what makes a token special."""
    vocab = json.loads((folder / "vocab.json").read_text())
    write_json(folder / "added_tokens.json", {BOS: vocab[BOS], EOS: vocab[EOS], "<Big Dog>": 9999})
    special = {"bos_token": {"content": BOS}, "mask_token": {"content": "<CAT>"}}
    special |= {"extra_special_tokens": [{"content": "<Extra>"}]}
    write_json(folder / "special_tokens_map.json", special)


def terse_config(folder: Path) -> None:
    """The same in a config; a file of an older form beside it is not looked at."""
    terse(folder)
    mask = {"__type": "AddedToken", "content": "<CAT>"}
    eos = {"__type": "AddedToken", "content": EOS, "normalized": True}
    listed = {"9999": {"content": "<Big Dog>"}}
    config = {"added_tokens_decoder": listed, "mask_token": mask, "eos_token": eos}
    write_json(folder / "tokenizer_config.json", config)


def saved(folder: Path) -> None:
    """As transformers 5 saves: tokenizer.json and a config."""
    sd21(folder)
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<cat>", AddedToken("<Big Dog>", lstrip=True, rstrip=True)])
    tokenizer.add_tokens([AddedToken("<|", lstrip=True, normalized=False), AddedToken("''")])
    for file in list(folder.iterdir()):
        file.unlink()
    tokenizer.save_pretrained(folder)
    assert not (folder / "vocab.json").exists()


def saved_by_older(folder: Path) -> None:
    """tokenizer.json with merges as strings, which goes before vocab.json; extra special tokens."""
    saved(folder)
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    write_json(file, content)
    write_json(folder / "vocab.json", {"a</w>": 0})
    config = json.loads((folder / "tokenizer_config.json").read_text())
    extra = {"additional_special_tokens": ["<Extra>", "..."]}
    write_json(folder / "tokenizer_config.json", {**config, **extra})


LAYOUTS: list[Callable[[Path], None]] = [
    *[bare, sd15, sd21, sdxl2, short, textual_inversion],
    *[terse, terse_config, saved, saved_by_older],
]


@pytest.fixture(scope="module")
def opened(vocabulary: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Both]:
    @cache
    def open_both(layout: Callable[[Path], None]) -> Both:
        folder = tmp_path_factory.mktemp(layout.__name__) / "tokenizer"
        shutil.copytree(vocabulary, folder)
        layout(folder)
        return Both(folder, CLIPTokenizer.from_pretrained(folder), ClipTokenizer.open(folder))

    return open_both


@pytest.fixture(params=LAYOUTS, ids=lambda layout: layout.__name__)
def both(request: pytest.FixtureRequest, opened: Callable[..., Both]) -> Both:
    return opened(request.param)


def samples() -> list[str]:
    rng = random.Random(1)
    return [
        *(
            "",
            " ",
            "a red circle above a blue square!",
            "It's 2,500 cats' <cat>s & DOGS... <Big Dog> ",
        ),
        *(f"x {BOS}<|STARTOFTEXT|>!{EOS} ! hello{EOS}", "<Extra> <EXTRA> ... <BIG DOG>  <|Cat|>''"),
        *(f"<CAT> <cat> <cats <|StartOfText|>{BOS}<|EndOfText|>{EOS}", "<big dog> <Big Dog>"),
        *("".join(rng.choices(FRAGMENTS, k=rng.randint(1, 60))) for _ in range(200)),
        *corpus()[:20],
    ]


def test_every_layout_gives_the_reference_s_ids_and_text(both: Both) -> None:
    for text in samples():
        ids = both.own.tokenize(text)
        assert ids == both.expected(text), text
        assert both.own.decode(ids) == both.reference.decode(ids), text


def test_every_layout_has_the_reference_s_numbers(both: Both) -> None:
    for name in ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size"):
        assert getattr(both.own, name) == getattr(both.reference, name), name
    assert len(both.own) == len(both.reference)
    expected = both.reference.model_max_length
    assert both.own.model_max_length == (expected if expected < 1000 else 77)


def test_cut_and_filled_up_as_the_reference_does(both: Both) -> None:
    length = both.own.model_max_length
    texts = [*samples(), "a " * (length - 2), "a " * (length - 1)]
    padding: dict[str, Any] = {"padding": "max_length", "max_length": length, "truncation": True}
    expected = both.reference(texts, **padding, return_tensors="np").input_ids
    encoding = both.own(texts)
    assert encoding.input_ids.dtype == np.int64
    np.testing.assert_array_equal(encoding.input_ids, expected)
    for text, dropped in zip(texts, encoding.dropped, strict=True):
        assert dropped == both.reference.decode(both.expected(text)[length - 2 :]), text
    assert [bool(dropped) for dropped in encoding.dropped[-2:]] == [False, True]


def test_which_token_pads_is_the_files_word(opened: Callable[..., Both]) -> None:
    """SD 1.5 pads with the end, SD 2.1 with "!", which then is that token in a prompt too."""
    first, second = opened(sd15).own, opened(sd21).own
    assert first.pad_token_id == first.eos_token_id
    assert second.pad_token_id == second.tokenize("!")[0] != second.eos_token_id
    assert first.tokenize("!") != second.tokenize("!")
    np.testing.assert_array_equal(
        second("").input_ids,
        [[second.bos_token_id, second.eos_token_id, *[second.pad_token_id] * 75]],
    )


@settings(max_examples=400)
@given(text=TEXTS)
def test_equal_for_any_text(opened: Callable[..., Both], text: str) -> None:
    for layout in (sd21, saved):
        both = opened(layout)
        ids = both.own.tokenize(text)
        assert ids == both.expected(text)
        assert both.own.decode(ids) == both.reference.decode(ids)


@settings(max_examples=300)
@given(data=st.data())
def test_decodes_any_ids_as_the_reference_does(
    opened: Callable[..., Both], data: st.DataObject
) -> None:
    """Cut characters, ends of words in the middle, special tokens and ids of nothing included."""
    both = opened(saved)
    ids = data.draw(st.lists(st.integers(0, len(both.own) + 3), max_size=12))
    assert both.own.decode(ids) == both.reference.decode(ids)


def in_contexts(code_point: int) -> str:
    """Alone, between letters, in a contraction, among marks and jamo, after a sign, doubled."""
    c = chr(code_point)
    return f"{c} a{c}b 1{c}\u0301\u0323\u0345 e{c}'s\u1161 \u1100{c}\u11a8 q\u0323\u0301{c}!{c}{c}"


def differing(both: Both, code_points: Iterable[int]) -> list[str]:
    chosen = [c for c in code_points if not 0xD800 <= c <= 0xDFFF]
    texts = [in_contexts(c) for c in chosen]
    expected = both.reference.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    return [
        f"U+{c:04X}"
        for c, text, encoding in zip(chosen, texts, expected, strict=True)
        if both.own.tokenize(text) != encoding.ids
    ]


def telling_code_points() -> Iterator[int]:
    """Both sides of each range's edges, all that changes in normalisation, and a sample."""
    tables = (unicode_tables.LETTERS, unicode_tables.NUMBERS, unicode_tables.WHITESPACE)
    for table in (*tables, unicode_tables.UNCOMPOSED):
        edge = 0
        for difference in table.split():
            edge += int(difference, 36)
            yield from (edge - 1, edge)
    for c in range(0x110000):
        hangul = 0xAC00 <= c <= 0xD7A3
        changes = unicodedata.combining(chr(c)) or unicodedata.decomposition(chr(c))
        if c % 197 == 0 or chr(c).lower() != chr(c) or (changes and not hangul):
            yield c


def test_code_points_where_classes_change(opened: Callable[..., Both]) -> None:
    """Those at which a wrong table would show; all others are in the slow test."""
    code_points = sorted({c for c in telling_code_points() if c < 0x110000})
    assert len(code_points) > 10_000
    assert differing(opened(bare), code_points) == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, 0x110000, 0x8000), ids=hex)
def test_every_code_point(opened: Callable[..., Both], start: int) -> None:
    """All of Unicode, also what is not assigned: some five minutes for the 34 parts."""
    assert differing(opened(bare), range(start, start + 0x8000)) == []


def test_normalisation_in_words() -> None:
    """The rules that are easiest to get wrong, spelt out."""
    assert normalize("A\u0301  \u3000B\tΑΣ İ") == "á b ασ i\u0307"
    assert normalize("a\x1cb\u200bc") == "a\x1cb\u200bc"
    assert split_words("don't 12 x's!? '7") == ["don", "'t", "1", "2", "x", "'s", "!?", "'", "7"]
    assert split_words("!<|endoftext|>!") == ["!<|", "endoftext", "|>!"]
    assert split_words("<|endoftext|>!") == ["<|", "endoftext", "|>", "!"]


@pytest.mark.parametrize(
    "text",
    ["ab" * 5000, "word7 " * 1667, "日本" * 5000, "é̱" * 5000, "! " * 5000, "\u08d3" * 10_000],
)
def test_ten_thousand_characters(opened: Callable[..., Both], text: str) -> None:
    """Far below a second, where a loop over each pair of characters takes many."""
    both = opened(sd15)
    start = time.process_time()
    encoding = both.own(text)
    assert time.process_time() - start < 1
    ids = both.expected(text)
    np.testing.assert_array_equal(encoding.input_ids[0, 1:76], ids[:75])
    assert encoding.dropped == (both.reference.decode(ids[75:]),)
    assert len(encoding.dropped[0]) > 9000


def test_a_lone_surrogate_is_named(opened: Callable[..., Both]) -> None:
    with pytest.raises(UsageError, match=r"lone surrogate, U\+D800, at character 3"):
        opened(bare).own("abc\ud800")


def test_no_texts(opened: Callable[..., Both]) -> None:
    encoding = opened(bare).own([])
    assert encoding.input_ids.shape == (0, 77)
    assert encoding.dropped == ()


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def break_file(folder: Path) -> None:
        write_json(folder / name, change(json.loads((folder / name).read_text())))

    return break_file


def rewrite(name: str, content: bytes | None) -> Callable[[Path], None]:
    def break_file(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)

    return break_file


def without(*tokens: str) -> Callable[[dict[str, int]], dict[str, int]]:
    return lambda vocab: {token: i for token, i in vocab.items() if token not in tokens}


def serialized(model: Any, **parts: Any) -> bytes:
    return json.dumps({"model": model, **parts}).encode()


CONFIG, VOCAB = "tokenizer_config.json", "vocab.json"
BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (rewrite(VOCAB, None), r"sd15: no vocab\.json; .* found merges\.txt, special_tokens_map\.json"),
    (rewrite("merges.txt", None), r"sd15: no merges\.txt; a CLIP tokenizer is vocab\.json and"),
    (shutil.rmtree, r"sd15: no vocab\.json; .* found nothing"),
    (rewrite(VOCAB, b'{"a": 1'), r"vocab\.json: not the JSON of a CLIP tokenizer: .*truncated"),
    (rewrite(VOCAB, b'{"a": "b"}'), r"vocab\.json: .*Expected `int`, got `str`"),
    (rewrite(VOCAB, b'{"a\xff": 1}'), r"vocab\.json: not the JSON"),
    (rewrite("merges.txt", b"a b\nabc\n"), r"merges\.txt: line 2: 'abc' is not two tokens"),
    (rewrite("merges.txt", b"a b c\n"), r"merges\.txt: line 1: 'a b c' is not two tokens"),
    (rewrite("merges.txt", b"a \xff\n"), r"merges\.txt: not UTF-8 text \(.* at byte 2\)"),
    (rewrite("merges.txt", b"q zzz\n"), r"vocab\.json: merging 'q' and 'zzz' needs 'zzz', which"),
    (rewrite(VOCAB, b'{"a": 0, "b": 1}'), r"vocab\.json: not CLIP's: none of its 2 tokens"),
    (edit(VOCAB, without(BOS)), r"vocab\.json: '<\|startoftext\|>', the bos_token, is not among"),
    (edit(VOCAB, without(EOS)), r"vocab\.json: '<\|endoftext\|>', the eos_token, is not among"),
    (
        edit(CONFIG, lambda c: {**c, "pad_token": 3}),
        r"config\.json: .*Expected `.*` - at `\$\.pad_",
    ),
    (
        edit(CONFIG, lambda c: {**c, "model_max_length": 2}),
        r"model_max_length is 2; must be a whole",
    ),
    (
        edit(CONFIG, lambda c: {**c, "padding_side": "left"}),
        r"padding_side is 'left'; only 'right'",
    ),
    (edit(CONFIG, lambda c: {**c, "split_special_tokens": True}), r"split_special_tokens is True;"),
    (
        edit("special_tokens_map.json", lambda c: {**c, "pad_token": None}),
        r"tokenizer_config\.json: pad_token is null",
    ),
    (
        edit("special_tokens_map.json", lambda c: {**c, "pad_token": "[PAD]"}),
        r"'\[PAD\]', the pad_token, is not among",
    ),
    (
        edit(
            "special_tokens_map.json",
            lambda c: {**c, "mask_token": old_token("!", single_word=True)},
        ),
        r"sd15: '!' has single_word, not supported",
    ),
    (
        rewrite("tokenizer.json", serialized({"type": "Unigram", "vocab": [["a", 0]]})),
        r"tokenizer\.json: a Unigram tokenizer; CLIP's is byte-pair encoding",
    ),
    (
        rewrite("tokenizer.json", serialized({"type": "BPE", "vocab": {"a": 0}, "merges": []})),
        r"tokenizer\.json: not CLIP's: none of its 1 tokens",
    ),
    (
        rewrite("tokenizer.json", serialized({"type": "BPE", "vocab": {"a": 0}, "merges": ["ab"]})),
        r"tokenizer\.json: merge 1: 'ab' is not two tokens",
    ),
    (
        rewrite("tokenizer.json", serialized({"type": "BPE", "vocab": ["a"]})),
        r"tokenizer\.json: not the JSON of a CLIP tokenizer: Expected `object`, got `array`",
    ),
    (rewrite("tokenizer.json", b"{}"), r"tokenizer\.json: .*missing required field `model`"),
]


@pytest.mark.parametrize(
    ("break_folder", "message"), BROKEN, ids=[message for _, message in BROKEN]
)
def test_a_broken_folder_is_one_clear_line(
    break_folder: Callable[[Path], None], message: str, vocabulary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sd15"
    shutil.copytree(vocabulary, folder)
    sd15(folder)
    ClipTokenizer.open(folder)
    break_folder(folder)
    with pytest.raises(LatedgeError, match=message) as error:
        ClipTokenizer.open(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
