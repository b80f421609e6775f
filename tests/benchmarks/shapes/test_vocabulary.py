from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from benchmarks.shapes.captions import brief_caption, caption
from benchmarks.shapes.generator import CLASSES, scene
from benchmarks.shapes.vocabulary import MAX_LENGTH, token_ids, tokens, words, write_tokenizer

MODEL = Path(__file__).parents[3] / "benchmarks" / "shapes" / "model"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_ids_count_up_and_the_last_two_are_special() -> None:
    ids = tokens()
    assert list(ids.values()) == list(range(len(ids)))
    assert list(ids)[-2:] == ["<|startoftext|>", "<|endoftext|>"]


def test_begins_as_clips_own_does() -> None:
    ids = tokens()
    assert (ids["!"], ids["a"], ids["!</w>"], ids["a</w>"]) == (0, 64, 256, 320)


def test_every_word_is_one_token() -> None:
    ids = tokens()
    assert all(word + "</w>" in ids for word in words())


def test_transformers_reads_captions_the_same(tokenizer: CLIPTokenizer) -> None:
    texts = [""]
    for seed in range(100):
        for scene_class in CLASSES:
            shown = scene(scene_class, seed)
            texts += [caption(shown), brief_caption(shown, seed)]
    read = tokenizer(texts, padding="max_length", max_length=MAX_LENGTH)["input_ids"]
    assert read == [token_ids(text) for text in texts]


@pytest.mark.parametrize("text", ["a red circle", "hello, world 42!", "naïve café ☕"])
def test_any_text_makes_the_round_trip(tokenizer: CLIPTokenizer, text: str) -> None:
    decoded = str(tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True))
    assert decoded.replace(" ", "") == text.replace(" ", "")


def test_a_strange_word_is_refused_in_training() -> None:
    with pytest.raises(KeyError, match="star"):
        token_ids("a red star")


def test_the_shipped_vocabulary_is_this_one(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (MODEL / "tokenizer" / made.name).read_bytes()
