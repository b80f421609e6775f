"""Prompt accuracy: perfect and wrong pictures, and which bundles it is for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.bench.quality import measure_quality
from benchmarks.bench.reference import Ask
from benchmarks.bench.shapes_accuracy import check_is_shapes, shapes_accuracy
from benchmarks.shapes.generator import CLASSES, draw
from benchmarks.shapes.intervals import wilson
from benchmarks.shapes.score import prompts
from runtimes.bundle import Bundle
from runtimes.errors import UsageError
from runtimes.manifest import read_manifest
from tests.runtimes.fakes import write_fake_bundle

COUNT = 12
SCENES = {
    (asked.text, asked.seed): asked.scene
    for scene_class in CLASSES
    for asked in prompts(scene_class, COUNT)
}


def perfect(prompt: str, seed: int) -> NDArray[np.float32]:
    return draw(SCENES[prompt, seed]).astype(np.float32) / np.float32(255)


def test_perfect_pictures_are_right_and_half_of_them_blank_are_half_right() -> None:
    found = shapes_accuracy(perfect, COUNT)
    assert set(found) == set(CLASSES)
    for share in found.values():
        assert (share.estimate, share.n) == (1.0, COUNT)
        assert (share.low, share.high) == (wilson(COUNT, COUNT).low, wilson(COUNT, COUNT).high)
    blank = np.full((64, 64, 3), 0.5, np.float32)
    half = shapes_accuracy(lambda p, s: blank if s % 2 else perfect(p, s), COUNT)
    for share in half.values():
        assert share.estimate == 0.5
        assert share.low < 0.5 < share.high


def test_quality_has_the_accuracy_where_it_is_asked_for() -> None:
    (prompt, seed), *_ = SCENES
    found = measure_quality(perfect, [Ask(prompt, seed)], None, shapes_prompts=3)
    assert {name: share.n for name, share in found.accuracy.items()} == {"single": 3, "pair": 3}


def test_pictures_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="judged on pictures of 64×64, not 32×48"):
        shapes_accuracy(lambda _prompt, _seed: np.zeros((32, 48, 3), np.float32), 1)


@pytest.fixture
def speaking_shapes(tmp_path: Path, shapes_model: Path) -> Bundle:
    """A bundle of formulas with the shapes model's tokenizer, for pictures of any size."""
    folder = write_fake_bundle(tmp_path / "bundle")
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(shapes_model / "tokenizer", folder / "tokenizer")
    manifest = read_manifest(folder)
    defaults = msgspec.structs.replace(manifest.defaults, height=64, width=64)
    return Bundle(folder, msgspec.structs.replace(manifest, defaults=defaults))


def test_the_shapes_model_is_known_by_its_vocabulary_and_size(speaking_shapes: Bundle) -> None:
    check_is_shapes(speaking_shapes)
    check_is_shapes(speaking_shapes, height=64, width=64)
    with pytest.raises(UsageError, match="judged on pictures of 64×64, not 64×128"):
        check_is_shapes(speaking_shapes, width=128)
    manifest = speaking_shapes.manifest
    larger = msgspec.structs.replace(manifest.defaults, height=128)
    manifest = msgspec.structs.replace(manifest, defaults=larger)
    with pytest.raises(UsageError, match="judged on pictures of 64×64, not 128×64"):
        check_is_shapes(Bundle(speaking_shapes.path, manifest))


def test_sizes_that_a_bundle_was_built_for_count(tmp_path: Path, shapes_model: Path) -> None:
    folder = write_fake_bundle(tmp_path / "bundle", height=4, width=8)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(shapes_model / "tokenizer", folder / "tokenizer")
    with pytest.raises(UsageError, match="judged on pictures of 64×64, not 32×64"):
        check_is_shapes(Bundle(folder, read_manifest(folder)))


def test_another_model_is_refused(tmp_path: Path, speaking_shapes: Bundle) -> None:
    other = Bundle(write_fake_bundle(tmp_path / "other"), speaking_shapes.manifest)
    with pytest.raises(UsageError, match="is not the shapes model: it reads another vocabulary"):
        check_is_shapes(other)
    manifest = msgspec.structs.replace(speaking_shapes.manifest, tokenizers={})
    with pytest.raises(UsageError, match="is not the shapes model"):
        check_is_shapes(Bundle(speaking_shapes.path, manifest))


def test_a_vocabulary_of_the_same_length_is_told_apart(speaking_shapes: Bundle) -> None:
    path = speaking_shapes.path / "tokenizer" / "vocab.json"
    ids: dict[str, int] = json.loads(path.read_bytes())
    ids["red</w>"], ids["blue</w>"] = ids["blue</w>"], ids["red</w>"]
    path.write_text(json.dumps(ids), encoding="utf-8")
    with pytest.raises(UsageError, match="it reads another vocabulary"):
        check_is_shapes(speaking_shapes)
