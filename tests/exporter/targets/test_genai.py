"""The layout of OpenVINO GenAI: an int64 timestep, a tokenizer model, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import PartialShape, Type, opset13

import latedge
from exporter.compile import compile
from exporter.errors import CompileError
from exporter.export import export
from exporter.reference import PROMPTS
from exporter.report import require_parity
from exporter.targets import genai
from exporter.verify import verify
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError
from runtimes.pipeline import Pipeline
from runtimes.tokenizer import ClipTokenizer

Make = Callable[[str], Path]
GENAI: dict[str, Any] = {"target": "openvino", "layout": "genai", "precision": "fp32"}


Build: Any = ov.Model
"""Untyped: the library's annotations refuse its own constructor's arguments."""


def constant_tokenizer(ids: list[int]) -> ov.Model:
    """A model from texts to the same ids each time, whose node names are those of a process."""
    text = opset13.parameter(PartialShape([-1]), Type.string)
    shape = opset13.shape_of(text)
    found = opset13.broadcast(
        opset13.constant(np.array([ids], np.int64)),
        opset13.concat([shape, opset13.constant(np.array([len(ids)], np.int64))], 0),
    )
    found.output(0).set_names({"input_ids"})
    return Build([found], [text], "tokenizer")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tiny_sd21: Path) -> None:
    """openvino-tokenizers, as far as one prompt goes."""
    tokenizer = ClipTokenizer.open(tiny_sd21 / "tokenizer")
    ids = [tokenizer.bos_token_id, *tokenizer.tokenize(PROMPTS[0]), tokenizer.eos_token_id]

    def convert_tokenizer(tokenizer: object, *, with_detokenizer: bool) -> ov.Model:
        assert type(tokenizer).__name__ == "CLIPTokenizer"
        assert not with_detokenizer
        return constant_tokenizer(ids)

    monkeypatch.setitem(
        sys.modules, genai.PACKAGE, SimpleNamespace(convert_tokenizer=convert_tokenizer)
    )
    monkeypatch.setattr(genai, "find_spec", lambda name: name)  # pyright: ignore
    monkeypatch.setattr(genai, "PROMPTS", PROMPTS[:1])


@pytest.mark.usefixtures("stand_in")
def test_timestep_is_int64_and_the_picture_the_same(exported: Make, tmp_path: Path) -> None:
    source, plain, bundle = exported("tiny-sd21"), tmp_path / "plain", tmp_path / "genai"
    compile(source, plain, target="openvino", precision="fp32")
    manifest = compile(source, bundle, **GENAI)
    ports = {
        port.name: (port.dtype, port.shape) for port in open_bundle(bundle).graph("unet").inputs
    }
    assert ports["timestep"] == ("int64", (1,))
    model = ov.Core().read_model(bundle / "unet" / "openvino_model.xml")
    kinds = [(i.get_any_name(), i.element_type) for i in model.inputs]
    plain_model = ov.Core().read_model(plain / "unet" / "openvino_model.xml")
    assert [name for name, _ in kinds] == [i.get_any_name() for i in plain_model.inputs]
    assert dict(kinds)["timestep"] == Type.i64
    assert manifest.provenance.options["compile"]["layout"] == "genai"
    require_parity(verify(bundle, against=source))
    np.testing.assert_array_equal(drawn(bundle), drawn(plain))


def drawn(bundle: Path) -> np.ndarray:
    with Pipeline.open(bundle) as pipe:
        images = pipe("x", num_inference_steps=3, seed=1, sampler="ddim", output_type="np").images
    assert isinstance(images, np.ndarray)
    assert images.std() > 0.05
    return images


@pytest.mark.usefixtures("stand_in")
def test_tokenizer_model_lies_beside_its_files(exported: Make, tmp_path: Path) -> None:
    first = compile(exported("tiny-sd21"), tmp_path / "a", **GENAI)
    assert {"tokenizer/openvino_tokenizer.xml", "tokenizer/openvino_tokenizer.bin"} <= set(
        first.files
    )
    # Conversion counts the nodes of the process in their names; the bundle must not.
    second = compile(exported("tiny-sd21"), tmp_path / "b", **GENAI)
    assert first == second
    model = ov.Core().read_model(tmp_path / "a" / "tokenizer" / "openvino_tokenizer.xml")
    assert [output.get_any_name() for output in model.outputs] == ["input_ids"]


@pytest.mark.usefixtures("stand_in")
def test_another_tokenizer_than_the_runtimes_is_refused(
    exported: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genai, "PROMPTS", ("another prompt",))
    with pytest.raises(CompileError, match=r"gives other ids for 'another prompt': .* in place of"):
        compile(exported("tiny-sd21"), tmp_path / "c", **GENAI)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(find_spec(genai.PACKAGE) is None, reason="openvino-tokenizers is an extra")
@pytest.mark.parametrize("name", ["tiny-sd15", "tiny-sd21"])
def test_converted_tokenizer_gives_the_runtimes_ids(
    synthesized: Make, tmp_path: Path, name: str
) -> None:
    folder = synthesized(name) / "tokenizer"
    bundle = SimpleNamespace(
        path=folder.parent, manifest=SimpleNamespace(tokenizers={"text_encoder": "tokenizer"})
    )
    for out in ("a", "b"):
        (tmp_path / out / "tokenizer").mkdir(parents=True)
        genai.write_tokenizers(bundle, tmp_path / out)  # pyright: ignore[reportArgumentType]
    a, b = (sorted((tmp_path / out / "tokenizer").iterdir()) for out in ("a", "b"))
    assert [path.read_bytes() for path in a] == [path.read_bytes() for path in b]


def test_missing_package_is_told_with_its_command(
    exported: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genai, "find_spec", lambda name: None)  # pyright: ignore
    with pytest.raises(UsageError, match=r'openvino-tokenizers.*pip install "latedge\[genai\]"'):
        compile(exported("tiny-sd21"), tmp_path / "c", **GENAI)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "gen"}, "unknown layout 'gen'; known are genai, optimum"),
        ({"target": "onnxruntime"}, "OpenVINO GenAI's: --target openvino, not onnxruntime"),
        ({"target": "openvin"}, "unknown target 'openvin'.*Did you mean 'openvino'"),
        ({"batch": 2}, "batch 2 can't be fixed for layout 'genai'"),
    ],
)
def test_wrong_options_are_refused(
    exported: Make, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compile(exported("tiny-sd21"), tmp_path / "c", **{**GENAI, **options})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("stand_in")
def test_bundles_without_tokenizer_are_refused(tiny_sd21: Path, tmp_path: Path) -> None:
    export(tiny_sd21, tmp_path / "b", components=("vae_decoder",), verify="none")
    with pytest.raises(CompileError, match="has no tokenizer, which layout 'genai' is made with"):
        compile(tmp_path / "b", tmp_path / "c", **GENAI)


@pytest.mark.usefixtures("stand_in")
def test_the_command_line_takes_the_layout(exported: Make, tmp_path: Path) -> None:
    source, output = str(exported("tiny-sd21")), tmp_path / "c"
    command = ["compile", source, "-o", str(output), "--target", "openvino", "--layout", "genai"]
    assert latedge.main(command) == 0
    assert (output / "tokenizer" / "openvino_tokenizer.xml").is_file()
