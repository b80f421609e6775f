"""The verb `export`: what it writes, what it proves, and that it writes all or nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from safetensors.numpy import load_file, save_file

import exporter.export as export_module
from exporter.components.text_encoder import TextEncoder
from exporter.errors import SourceError, VerificationError
from exporter.export import export
from exporter.families import Recognised
from exporter.families.sd1 import SD1
from exporter.families.sd2 import SD2
from exporter.families.table import Family
from exporter.passes import PORTABLE, apply
from exporter.portable import bind, save
from exporter.portable_manifest import tasks_of
from exporter.staged_files import VERIFICATION_NAME
from exporter.targets.ort import open_lowered
from exporter.trace import capture
from exporter.weights import Planned, read_header, stream
from runtimes.bundle import open_bundle
from runtimes.errors import LatedgeError, UsageError

Export = Callable[[str], Path]
COMPONENTS = ["text_encoder", "unet", "vae_decoder", "vae_encoder"]
MODELS = ["tiny-sd15", "tiny-sd21", "tiny-sd15-inpaint"]


@pytest.mark.parametrize("name", MODELS)
def test_bundle_is_whole_and_agrees_with_torch(exported: Export, name: str) -> None:
    bundle = open_bundle(exported(name), full=True)
    assert list(bundle.manifest.components) == COMPONENTS
    report = json.loads((bundle.path / VERIFICATION_NAME).read_text())
    for component in COMPONENTS:
        for output, figures in report["components"][component]["outputs"].items():
            assert figures["peak"] > 0.01, (component, output)
            # Reordered float32 sums alone: the graphs hold the very same weights.
            assert figures["psnr_db"] is None or figures["psnr_db"] > 110, (component, output)


def test_manifest_says_what_the_source_is(exported: Export) -> None:
    manifest = open_bundle(exported("tiny-sd21")).manifest
    assert (manifest.family, manifest.prediction_type) == ("sd2", "v_prediction")
    assert manifest.tasks == ("text-to-image", "image-to-image", "inpainting")
    assert manifest.defaults.sampler == "ddim"
    inpaint = open_bundle(exported("tiny-sd15-inpaint")).manifest
    assert (inpaint.family, inpaint.tasks) == ("sd1", ("inpainting",))


@pytest.mark.parametrize(
    ("family", "channels", "components", "tasks"),
    [
        (SD1, 4, COMPONENTS, ("text-to-image", "image-to-image", "inpainting")),
        (SD1, 4, COMPONENTS[:3], ("text-to-image",)),
        (SD2, 9, COMPONENTS, ("inpainting",)),
        (SD2, 9, COMPONENTS[:3], ()),
        (SD2, 5, COMPONENTS, ("depth-to-image",)),
        (SD1, 5, COMPONENTS, ()),
    ],
)
def test_tasks_hang_on_the_channels_and_on_the_encoder(
    family: Family, channels: int, components: list[str], tasks: tuple[str, ...]
) -> None:
    recognised = Recognised(family, {"unet": {"in_channels": channels}})
    assert tasks_of(recognised, components) == tasks


def test_what_no_bundle_takes_is_told(
    synthesized: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(synthesized("tiny-sd2-depth"), tmp_path / "model"))
    index = json.loads((model / "model_index.json").read_text())
    index["depth_estimator"] = ["transformers", "DPTForDepthEstimation"]
    (model / "model_index.json").write_text(json.dumps(index))

    def stop(*_: object) -> None:
        raise LatedgeError("no room")

    told: list[str] = []
    monkeypatch.setattr("exporter.export.check_room", stop)  # before the slow work
    with pytest.raises(LatedgeError, match="no room"):
        export(model, tmp_path / "b", progress=told.append)
    assert told == ["depth_estimator is left out: depth maps are given by whoever makes pictures"]


def test_weights_are_the_sources_own_under_diffusers_keys(
    exported: Export, tiny_sd15: Path
) -> None:
    source = load_file(tiny_sd15 / "unet" / "diffusion_pytorch_model.safetensors")
    bundle = load_file(exported("tiny-sd15") / "unet" / "model.safetensors")
    assert bundle.keys() == source.keys()
    for key, values in source.items():
        assert bundle[key].dtype == values.dtype
        np.testing.assert_array_equal(bundle[key], values, err_msg=key)


def test_graph_points_into_the_canonical_file_under_its_keys(exported: Export) -> None:
    folder = exported("tiny-sd15") / "unet"
    tensors = read_header(folder / "model.safetensors")
    external = {
        name: value.const_value
        for name, value in ir.load(folder / "model.onnx").graph.initializers.items()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    assert external.keys() == tensors.keys()
    for key, value in external.items():
        assert isinstance(value, ir.ExternalTensor)
        assert (value.offset, value.length) == (tensors[key].offset, tensors[key].size_bytes)
    assert len((folder / "model.onnx").read_bytes()) < 1_000_000


def _bytes(bundle: Path) -> dict[str, bytes]:
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != VERIFICATION_NAME
    }


def test_same_source_gives_same_bytes(exported: Export, tiny_sd15: Path, tmp_path: Path) -> None:
    export(tiny_sd15, tmp_path / "again", verify="none")
    first, again = _bytes(exported("tiny-sd15")), _bytes(tmp_path / "again")
    assert first.keys() == again.keys()
    assert [name for name in first if first[name] != again[name]] == []


@pytest.mark.parametrize(("dtype", "shards"), [("bf16", 1), ("fp32", 3)])
def test_every_dtype_and_shards_are_read(tmp_path: Path, dtype: str, shards: int) -> None:
    from benchmarks.synthetic import synthesize

    source = synthesize("tiny-sd15", tmp_path / "model", dtype=dtype, shards=shards)
    manifest = export(source, tmp_path / "bundle", components=("text_encoder",))
    assert manifest.components["text_encoder"].graphs["model"].precision == dtype


def test_dtype_is_cast_on_the_way(tiny_sd15: Path, tmp_path: Path) -> None:
    export(tiny_sd15, tmp_path / "b", dtype="fp32", components=("text_encoder",), verify="none")
    tensors = read_header(tmp_path / "b" / "text_encoder" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {"F32"}


def test_several_dtypes_in_a_component_are_refused_before_slow_work(
    tiny_sd15: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiny_sd15, tmp_path / "model"))
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({**weights, "conv_in.bias": weights["conv_in.bias"].astype(np.float32)}, path)
    with pytest.raises(SourceError, match=r"several dtypes, fp16 \(.*\) and fp32 \(conv_in"):
        export(model, tmp_path / "b", components=("unet",))
    assert not (tmp_path / "b").exists()


def test_pooled_state_stays_when_the_embedding_table_grows(
    exported: Export, tmp_path: Path
) -> None:
    """An id beyond EOS, as textual inversion appends, must not draw the pooling to itself."""
    bundle = open_bundle(exported("tiny-sd15"))
    folder = Path(shutil.copytree(bundle.path / "text_encoder", tmp_path / "text_encoder"))
    config = json.loads((folder / "config.json").read_text())
    appended = config["vocab_size"] - 1
    config["eos_token_id"] = eos = appended - 1
    model = apply(capture(TextEncoder(), config), PORTABLE)
    tensors = read_header(folder / "model.safetensors")
    bind(model, {key: (tensor.dtype, tensor.shape) for key, tensor in tensors.items()})
    save(model, folder / "model.onnx")
    ids = np.full((1, 77), eos, np.int64)
    ids[0, :5] = (1, 2, 3, appended, 4)
    found = open_lowered(tmp_path, bundle.graph("text_encoder"))({"input_ids": ids})
    last = found["last_hidden_state"][0]
    np.testing.assert_array_equal(found["pooler_output"][0], last[5])
    assert np.abs(last[5] - last[3]).max() > 0.1, "the appended token's state is another"


def test_planted_fault_fails_the_export_and_leaves_nothing(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(path: Path, plan: Mapping[str, Planned]) -> str:
        key = "text_model.encoder.layers.0.mlp.fc1.weight"
        other = plan["text_model.encoder.layers.1.mlp.fc1.weight"]
        return stream(path, {**plan, key: other})

    monkeypatch.setattr(export_module, "stream", faulty)
    with pytest.raises(VerificationError, match=r"text_encoder departs from torch: .* PSNR"):
        export(tiny_sd15, tmp_path / "b", components=("text_encoder",))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_nothing(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(export_module, "stream", full)
    with pytest.raises(OSError, match="No space left on device"):
        export(tiny_sd15, tmp_path / "b", components=("text_encoder",), verify="none")
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_disk_is_told_before_slow_work(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    with pytest.raises(LatedgeError, match="GB are needed"):
        export(tiny_sd15, tmp_path / "b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "fp17"}, "unknown dtype 'fp17'.*Did you mean 'fp1"),
        ({"verify": "all"}, "unknown verification 'all'; known are components, image, layers"),
        ({"components": ()}, "no components were asked for"),
        ({"components": ("unett",)}, "Did you mean 'unet'"),
    ],
)
def test_wrong_options_are_refused(
    tiny_sd15: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(tiny_sd15, tmp_path / "b", **options)  # pyright: ignore[reportArgumentType]


def test_missing_engine_is_told_before_slow_work(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install .latedge\[onnxruntime\]., or skip it"):
        export(tiny_sd15, tmp_path / "b")


def test_an_unknown_field_of_the_scheduler_is_told_before_slow_work(
    tiny_sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = shutil.copytree(tiny_sd15, tmp_path / "source")
    config = source / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "step_offset": 1}))
    monkeypatch.setattr(export_module, "export_component", None)
    with pytest.raises(UsageError, match=r"unknown field 'step_offset', .*'steps_offset'"):
        export(source, tmp_path / "b", verify="none")


def test_existing_output_is_refused_before_slow_work(tiny_sd15: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists; give another place"):
        export(tiny_sd15, tmp_path)
