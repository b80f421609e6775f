"""The verb `compile`, both targets: parity, sizes, weight maps, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporter.compile import compile
from exporter.errors import CompileError
from exporter.report import require_parity
from exporter.staged_files import VERIFICATION_NAME
from exporter.verify import verify
from exporter.weight_map import read_weight_map
from exporter.weights import read_header
from runtimes.bundle import open_bundle
from runtimes.errors import UsageError

Export = Callable[[str], Path]
TARGETS = ["onnxruntime", "openvino"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tiny-sd15", {"precision": "fp32"}),
        ("tiny-sd15", {"precision": "fp16", "height": 64, "width": 48, "batch": 2}),
        ("tiny-sd21", {"height": 40, "width": 56, "batch": 1}),
        pytest.param("tiny-sd15-inpaint", {}, marks=pytest.mark.slow),
    ],
)
def test_compiled_bundle_agrees_with_torch(
    exported: Export, tmp_path: Path, target: str, name: str, options: dict[str, object]
) -> None:
    out = tmp_path / "compiled"
    compile(exported(name), out, target=target, **options)  # pyright: ignore[reportArgumentType]
    report = verify(out, against=exported(name))
    require_parity(report)
    for component, result in report.components.items():
        for output, figures in result.outputs.items():
            # The source's weights are fp16 and both engines compute in float32: nothing is rounded.
            assert figures.psnr_db is None or figures.psnr_db > 100, (component, output, figures)


@pytest.mark.parametrize("target", TARGETS)
def test_fixed_sizes_stand_in_the_ports(exported: Export, tmp_path: Path, target: str) -> None:
    source = exported("tiny-sd15")
    compile(source, tmp_path / "c", target=target, height=64, width=48, batch=2)
    bundle = open_bundle(tmp_path / "c")
    factor = bundle.manifest.latents.vae_factor
    unet = {port.name: port.shape for port in bundle.graph("unet").inputs}
    assert unet["sample"] == (2, 4, 64 // factor, 48 // factor)
    assert unet["encoder_hidden_states"][:2] == (2, 77)
    (picture,) = bundle.graph("vae_decoder").outputs
    assert picture.shape == (1, 3, 64, 48)
    assert (bundle.manifest.defaults.height, bundle.manifest.defaults.width) == (64, 48)


@pytest.mark.parametrize("target", TARGETS)
def test_weight_map_leads_to_every_weight(exported: Export, tmp_path: Path, target: str) -> None:
    source = exported("tiny-sd15")
    compile(source, tmp_path / "c", target=target, precision="fp16")
    bundle = open_bundle(tmp_path / "c")
    entry = bundle.manifest.components["unet"]
    assert entry.weight_map is not None
    weights = read_weight_map(bundle.path / entry.weight_map)
    tensors = read_header(source / "unet" / "model.safetensors")
    assert weights.keys() == tensors.keys()
    found = _engine_weights(bundle.path, target)
    for key, mapped in weights.items():
        assert (mapped.layout, mapped.dtype) == ("canonical", "float16")
        np.testing.assert_array_equal(found[mapped.tensor], tensors[key].read(), err_msg=key)


def _engine_weights(bundle: Path, target: str) -> dict[str, np.ndarray]:
    """The weights as the engine's own library reads them from the compiled files."""
    if target == "onnxruntime":
        import onnx

        model = onnx.load(bundle / "unet" / "model.onnx")
        return {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    import openvino as ov

    model = ov.Core().read_model(bundle / "unet" / "openvino_model.xml")
    constants = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return {node.get_friendly_name(): np.array(node.data) for node in constants}


@pytest.mark.slow
def test_fp32_sources_are_stored_in_half_where_asked(tmp_path: Path) -> None:
    from benchmarks.synthetic import synthesize
    from exporter.export import export

    model = synthesize("tiny-sd15", tmp_path / "model", dtype="fp32")
    export(model, tmp_path / "b", components=("unet",), verify="none")
    stored = open_bundle(tmp_path / "b").manifest.files["unet/model.safetensors"].size
    for target in TARGETS:
        compile(tmp_path / "b", tmp_path / target, target=target, precision="fp16")
        bundle = open_bundle(tmp_path / target)
        assert not list((tmp_path / target).rglob(".halved-*"))
        (weights,) = bundle.graph("unet").weights
        assert bundle.manifest.files[weights].size < 0.6 * stored
        report = verify(tmp_path / target, against=tmp_path / "b")
        (figures,) = report.components["unet"].outputs.values()
        # Each weight is rounded to 11 bits, 66 dB; equality would mean that nothing was.
        assert figures.psnr_db is not None
        assert 45 < figures.psnr_db < 90


@pytest.mark.parametrize("target", TARGETS)
def test_same_bundle_gives_same_bytes(exported: Export, tmp_path: Path, target: str) -> None:
    for name in ("a", "b"):
        compile(exported("tiny-sd15"), tmp_path / name, target=target, height=64, width=64)
    a, b = (open_bundle(tmp_path / name).manifest for name in ("a", "b"))
    assert [name for name in a.files if a.files[name] != b.files.get(name)] == []
    assert a == b
    assert VERIFICATION_NAME not in a.files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "onnxruntim"}, "unknown target 'onnxruntim'.*Did you mean 'onnxruntime'"),
        ({"target": "openvino", "precision": "int3"}, "unknown precision of openvino 'int3'"),
        ({"target": "openvino", "height": 100, "width": 64}, "height 100 is not a positive multip"),
        ({"target": "openvino", "height": 64, "width": -8}, "width -8 is not a positive multiple"),
        ({"target": "openvino", "height": 64}, "both --height and --width"),
        ({"target": "openvino", "batch": 0}, "batch 0 is not positive"),
    ],
)
def test_wrong_options_are_refused(
    exported: Export, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compile(exported("tiny-sd15"), tmp_path / "c", **options)  # pyright: ignore[reportArgumentType]
    assert list(tmp_path.iterdir()) == []


def test_compiled_bundle_is_not_compiled_again(exported: Export, tmp_path: Path) -> None:
    compile(exported("tiny-sd15"), tmp_path / "a", target="openvino")
    with pytest.raises(CompileError, match="compiled for openvino already"):
        compile(tmp_path / "a", tmp_path / "b", target="onnxruntime")
