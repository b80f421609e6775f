"""Both encoders of a CLIP, exported and compiled, against transformers' own model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import CLIPModel, CLIPTokenizer

from exporter.clip import compile_clip, export_clip
from exporter.errors import VerificationError, WeightError
from exporter.progress import silent
from exporter.sources.clip_folder import ClipFolder, open_clip_folder
from exporter.weights import read_header
from runtimes.bundle import Bundle
from runtimes.engine import load_engine_class
from tests.exporter.clip_folders import edit_json, write_clip

PROMPTS = (
    "a large red circle",
    "",
    "two cats, one of them asleep; 東京 ☕",
    "an oil painting of a lighthouse in a storm, waves, dark clouds, " * 9,
)
"""Plain, empty, odd, and longer than 77 tokens."""

TOLERANCE = 1e-5
"""Of a unit vector's values: float32 on both sides, three sums of up to 96 products in a row."""


@pytest.fixture(scope="module")
def source(tiny_clip: Path) -> ClipFolder:
    return open_clip_folder(tiny_clip)


@pytest.fixture(scope="module")
def reference(tiny_clip: Path) -> Any:
    return CLIPModel.from_pretrained(tiny_clip, attn_implementation="eager").eval()


def unit(embeddings: Any) -> NDArray[np.float64]:
    values = np.asarray(embeddings, np.float64)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def test_the_portable_form_keeps_the_sources_keys(
    portable_clip: Bundle, source: ClipFolder
) -> None:
    for name, tensors in source.tensors.items():
        found = read_header(portable_clip.path / name / "model.safetensors")
        assert {key: item.shape for key, item in found.items()} == {
            key: item.shape for key, item in tensors.items()
        }


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_embeddings_equal_those_of_transformers(
    portable_clip: Bundle, source: ClipFolder, reference: Any, tmp_path: Path, target: str
) -> None:
    lines: list[str] = []
    entries = compile_clip(portable_clip, source, tmp_path, target=target, progress=lines.append)
    assert [line.partition(",")[0] for line in lines] == [
        "clip_text: agrees with torch",
        "clip_image: agrees with torch",
    ]
    # transformers' own tokens and mask of padding: neither may make a difference.
    words: Any = CLIPTokenizer.from_pretrained(source.path)(
        list(PROMPTS), padding="max_length", truncation=True, return_tensors="pt"
    )
    stream = np.random.default_rng(1)
    pictures = stream.integers(0, 256, (3, 52, 44, 3), dtype=np.uint8)
    pixels = np.stack([source.pixels(picture) for picture in pictures])
    with torch.inference_mode():
        texts = unit(reference.get_text_features(**words).pooler_output)
        images = unit(reference.get_image_features(torch.from_numpy(pixels)).pooler_output)
    feeds: dict[str, Any] = {
        "clip_text": {"input_ids": source.tokenizer(PROMPTS).input_ids},
        "clip_image": {"pixel_values": pixels},
    }
    for name, expected in (("clip_text", texts), ("clip_image", images)):
        graph = entries[name].graphs["model"]
        engine = load_engine_class(target)(tmp_path, graph, device="cpu", threads=1)
        (found,) = engine(feeds[name]).values()
        engine.close()
        assert np.abs(unit(found) - expected).max() <= TOLERANCE
        # No two samples give the same: a tower that ignores its input would.
        closest = np.max(expected @ expected.T - np.eye(len(expected)))
        assert closest < 0.99


def test_an_encoder_that_departs_is_refused(
    portable_clip: Bundle, source: ClipFolder, tmp_path: Path
) -> None:
    altered = Path(shutil.copytree(portable_clip.path, tmp_path / "altered"))
    tensor = read_header(altered / "clip_image" / "model.safetensors")["visual_projection.weight"]
    with tensor.file.open("r+b") as file:
        file.seek(tensor.offset)
        file.write(np.ones(24, "<f4").tobytes())
    (tmp_path / "out").mkdir()
    with pytest.raises(VerificationError, match="clip_image departs from torch: image_embeds"):
        compile_clip(
            Bundle(altered, portable_clip.manifest),
            source,
            tmp_path / "out",
            target="onnxruntime",
            progress=silent,
        )


def test_weights_of_another_config_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip")
    config = open_clip_folder(tmp_path / "clip").configs["clip_text"]
    edit_json(tmp_path / "clip" / "config.json", text_config={**config, "intermediate_size": 72})
    (tmp_path / "out").mkdir()
    with pytest.raises(WeightError, match=r"has shape \[64, 32\], the config asks for \[72"):
        export_clip(open_clip_folder(tmp_path / "clip"), tmp_path / "out", silent)
