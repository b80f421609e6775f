"""What is checked of a source before the peers export it, and of what they print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.interop.folders import check_prefix, check_weights
from runtimes.errors import LatedgeError


def test_the_models_that_are_drawn_have_the_prefix(shapes_model: Path, tiny_sd21: Path) -> None:
    for source in (shapes_model, tiny_sd21):
        check_prefix(source)


def test_weights_without_the_prefix_are_refused(shapes_model: Path, tmp_path: Path) -> None:
    weights = load_file(shapes_model / "text_encoder" / "model.safetensors")
    bare = {key.removeprefix("text_model."): np.array(value) for key, value in weights.items()}
    (tmp_path / "text_encoder").mkdir()
    save_file(bare, tmp_path / "text_encoder" / "model.safetensors")
    message = r"names a weight embeddings\.\S+, without 'text_model\.': Optimum would export a rand"
    with pytest.raises(LatedgeError, match=message):
        check_prefix(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "Some weights of CLIPTextModel were not initialized from the model checkpoint at x and are "
        "newly initialized: ['text_model.embeddings.position_embedding.weight']",
        "text_model.embeddings.position_embedding.weight | MISSING    |",
    ],
)
def test_exports_that_make_up_weights_are_refused(line: str) -> None:
    check_weights("onnx fp32", "TracerWarning: Converting a tensor to a Python boolean")
    with pytest.raises(LatedgeError, match=r"onnx fp32: the exporter made up weights: .*text_"):
        check_weights("onnx fp32", f"loading\n  {line}\ndone")
