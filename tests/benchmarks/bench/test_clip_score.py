"""The CLIP score against the cosine of transformers' own embeddings."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import benchmarks.bench.clip_score as clip_score
import exporter.clip
from benchmarks.bench.clip_score import ClipScorer
from exporter.errors import SourceError
from runtimes.bundle import Bundle
from runtimes.errors import EngineError, UsageError

PROMPTS = ("a red circle", "", "two cats; 東京 ☕", "a lighthouse in a storm, dark clouds, " * 20)
TOLERANCE = 1e-3
"""Of a score up to 100: float32 embeddings differ by 1e-6 of their length, which is 1e-4 here."""


def pictures() -> list[NDArray[np.float32]]:
    stream = np.random.default_rng(3)
    coarse = np.kron(stream.random((4, 6, 3)), np.ones((16, 16, 1)))
    return [
        stream.random((64, 64, 3), dtype=np.float32),
        coarse.astype(np.float32),
        np.full((80, 50, 3), 0.25, np.float32),
    ]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, portable_clip: Bundle) -> None:
    """Exports are copies of one that was made."""

    def copy(source: object, folder: Path, progress: object) -> Bundle:
        shutil.copytree(portable_clip.path, folder, dirs_exist_ok=True)
        return Bundle(folder, portable_clip.manifest)

    monkeypatch.setattr(exporter.clip, "export_clip", copy)


def cosines(folder: Path) -> NDArray[np.float64]:
    """By transformers alone: its tokenizer, its image processor, its model."""
    model: Any = CLIPModel.from_pretrained(folder).eval()
    words: Any = CLIPTokenizer.from_pretrained(folder)(
        list(PROMPTS), padding="max_length", truncation=True, return_tensors="pt"
    )
    processor: Any = CLIPImageProcessorPil.from_pretrained(folder)
    shown = [np.round(picture * 255).astype(np.uint8) for picture in pictures()]
    pixels = processor(shown, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        texts = model.get_text_features(**words).pooler_output.double().numpy()
        images = model.get_image_features(**pixels).pooler_output.double().numpy()
    lengths = np.outer(np.linalg.norm(images, axis=1), np.linalg.norm(texts, axis=1))
    return images @ texts.T / lengths


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_scores_equal_those_of_transformers(tiny_clip: Path, engine: str) -> None:
    expected = 100 * np.maximum(cosines(tiny_clip), 0)
    scorer = ClipScorer.open(tiny_clip, engine=engine, threads=1)
    found = [[scorer.score(picture, prompt) for prompt in PROMPTS] for picture in pictures()]
    assert scorer.engine.startswith(engine)
    assert scorer.folder == tiny_clip
    assert np.abs(np.array(found) - expected).max() <= TOLERANCE
    assert 0 < np.count_nonzero(expected) < expected.size, "both sides of 0 shall be met"
    scorer.close()
    with pytest.raises(EngineError, match="closed"):
        scorer.score(pictures()[0], "another prompt")


@pytest.mark.usefixtures("made")
def test_the_first_engine_that_is_installed_is_taken(
    tiny_clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        clip_score, "find_spec", lambda name: None if name == "onnxruntime" else "found"
    )
    scorer = ClipScorer.open(tiny_clip)
    assert scorer.engine.startswith("openvino")
    scorer.close()
    with pytest.raises(EngineError) as caught:
        ClipScorer.open(tiny_clip, engine="onnxruntime")
    assert 'onnxruntime is not installed: pip install "latedge[onnxruntime]"' in str(caught.value)


def test_wrong_requests_are_refused_before_an_export(tiny_clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown engine 'torch'; known are onnxruntime, op"):
        ClipScorer.open(tiny_clip, engine="torch")
    with pytest.raises(SourceError, match="is no such folder"):
        ClipScorer.open(tmp_path / "absent")


@pytest.mark.parametrize(("value", "length"), [(np.nan, "nan"), (0.0, "0.0")])
def test_an_embedding_of_no_direction_is_an_error(
    tiny_clip: Path, value: float, length: str
) -> None:
    from exporter.sources.clip_folder import open_clip_folder

    class Broken:
        version = "broken 1"

        def __call__(self, feeds: object) -> dict[str, NDArray[np.float32]]:
            return {"text_embeds": np.full((1, 24), value, np.float32)}

    broken: Any = Broken()
    scorer = ClipScorer(open_clip_folder(tiny_clip), broken, broken)
    with pytest.raises(EngineError, match=f"CLIP's text encoder gave an embedding of .* {length}"):
        scorer.score(pictures()[0], "x")
