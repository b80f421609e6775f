"""CLIP's own tokenizer, made from the merges that ship."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exporter.clip_tokenizer import clip_tokenizer
from runtimes.tokenizer import ClipTokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in clip_tokenizer("!").items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_ids_are_clips(folder: Path) -> None:
    tokenizer = ClipTokenizer.open(folder)
    ids = tokenizer(["a photo of a cat"]).input_ids[0]
    # As openai/clip-vit-large-patch14 gives them.
    assert ids[:8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 0]
    assert (tokenizer.vocab_size, tokenizer.model_max_length) == (49408, 77)


def test_transformers_reads_the_same(folder: Path) -> None:
    from transformers import CLIPTokenizer

    texts = ["An astronaut, riding a HORSE on mars!!", "naïve café 4k 你好 🦊", "", "o'clock " * 60]
    reference = CLIPTokenizer.from_pretrained(folder)
    expected = reference(texts, padding="max_length", truncation=True, max_length=77)
    found = ClipTokenizer.open(folder)(texts).input_ids
    np.testing.assert_array_equal(found, np.array(expected["input_ids"]))


def test_files_have_the_sizes_of_the_public_ones() -> None:
    files = clip_tokenizer("<|endoftext|>")
    # Those of Stable Diffusion 1.5's tokenizer folder.
    assert (len(files["vocab.json"]), len(files["merges.txt"])) == (1_059_962, 524_619)
    assert json.loads(files["special_tokens_map.json"])["pad_token"] == "<|endoftext|>"


def test_licence_ships_beside_the_data() -> None:
    from importlib.resources import files

    text = files("exporter").joinpath("clip_vocabulary", "LICENSE").read_text("utf-8")
    assert "Copyright (c) 2021 OpenAI" in text
