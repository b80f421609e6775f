"""Packages: whole, the same bytes twice, weights once however many functions use them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.coreml.package import MODEL, WEIGHTS, Description, save
from exporter.errors import CompileError
from tests.exporter.coreml.mil_programs import CHANNELS, Array, Made, network, program_of, weights

ONE = {"main": (8, 8)}
TWO = {"main": (8, 8), "size_16x24": (16, 24)}
WORDS = Description("A network.", {"sample": "Latents.", "noise_pred": "The noise in them."})


def write(path: Path, sizes: Mapping[str, tuple[int, int]] = ONE, **options: Any) -> Path:
    program, target = network(sizes, options.pop("arrays", weights()), **options)
    save(program, path, target=target, description=WORDS)
    return path


def contents(package: Path) -> dict[str, str]:
    files = (path for path in package.rglob("*") if path.is_file())
    return {
        path.relative_to(package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def spec(package: Path) -> Any:
    from coremltools.proto import Model_pb2

    model: Any = Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    return model


def operators(function: Any) -> list[Any]:
    (block,) = function.block_specializations.values()
    return list(block.operations)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("one") / "Unet.mlpackage")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("two") / "Unet.mlpackage", TWO)


def test_package_has_program_weights_and_manifest_alone(one: Path) -> None:
    assert set(contents(one)) == {"Manifest.json", MODEL, WEIGHTS}


def test_coremltools_opens_it(one: Path) -> None:
    import coremltools as ct

    model = ct.models.MLModel(str(one), skip_model_load=True)
    assert list(model.input_description) == ["sample"]
    assert list(model.output_description) == ["noise_pred"]


def test_it_holds_what_coremltools_own_conversion_does(one: Path) -> None:
    import coremltools as ct

    program, target = network(ONE, weights())
    convert: Any = ct.convert
    model = convert(
        program,
        convert_to="mlprogram",
        pass_pipeline=ct.PassPipeline.EMPTY,
        minimum_deployment_target=target,
        skip_model_load=True,
    )
    theirs, ours = model.get_spec(), spec(one)
    assert ours.specificationVersion == theirs.specificationVersion
    assert ours.mlProgram.functions["main"] == theirs.mlProgram.functions["main"]
    stored = Path(model.weights_dir) / "weight.bin"
    assert (one / WEIGHTS).read_bytes() == stored.read_bytes()


def test_weights_are_in_the_file_in_half_precision(one: Path) -> None:
    values = b"".join(array.tobytes() for array in weights().values())
    stored = (one / WEIGHTS).read_bytes()
    assert all(array.tobytes() in stored for array in weights().values())
    assert len(stored) < len(values) + 1024
    assert len((one / MODEL).read_bytes()) < 20_000


def test_description_says_what_the_model_and_its_features_are(one: Path) -> None:
    description = spec(one).description
    assert description.metadata.shortDescription == "A network."
    assert [(f.name, f.shortDescription) for f in description.input] == [("sample", "Latents.")]
    assert [(f.name, f.shortDescription) for f in description.output] == [
        ("noise_pred", "The noise in them.")
    ]


def test_dtypes_are_the_programs_own(one: Path) -> None:
    description = spec(one).description
    given, made = (
        features[0].type.multiArrayType for features in (description.input, description.output)
    )
    assert (given.dataType, made.dataType) == (given.FLOAT16, made.FLOAT32)
    kinds = [op.type for op in operators(spec(one).mlProgram.functions["main"])]
    assert kinds.count("cast") == 1


def test_manifest_names_both_items_and_the_program_as_root(one: Path) -> None:
    manifest = json.loads((one / "Manifest.json").read_text("utf-8"))
    items = manifest["itemInfoEntries"]
    paths = {item["path"] for item in items.values()}
    assert paths == {"com.apple.CoreML/model.mlmodel", "com.apple.CoreML/weights"}
    assert items[manifest["rootModelIdentifier"]]["name"] == "model.mlmodel"


@pytest.mark.parametrize("sizes", [ONE, TWO], ids=["one", "two"])
def test_same_program_gives_the_same_bytes(
    one: Path, two: Path, tmp_path: Path, sizes: Mapping[str, tuple[int, int]]
) -> None:
    first = one if sizes is ONE else two
    assert contents(write(tmp_path / "Unet.mlpackage", sizes)) == contents(first)


def test_identifiers_tell_packages_apart(one: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "UnetRefiner.mlpackage")
    roots = {
        json.loads((path / "Manifest.json").read_text("utf-8"))["rootModelIdentifier"]
        for path in (one, other)
    }
    assert len(roots) == 2


def test_names_begin_anew(one: Path) -> None:
    names = [op.outputs[0].name for op in operators(spec(one).mlProgram.functions["main"])]
    assert "conv_0" in names
    assert "conv_0_weight" in names


def test_what_nothing_uses_is_left_out(one: Path, tmp_path: Path) -> None:
    package = write(tmp_path / "Unet.mlpackage", dead=True)
    assert (package / WEIGHTS).read_bytes() == (one / WEIGHTS).read_bytes()


def test_second_size_shares_the_weights(one: Path, two: Path) -> None:
    assert (two / WEIGHTS).read_bytes() == (one / WEIGHTS).read_bytes()


def test_each_function_has_its_shapes(two: Path) -> None:
    model = spec(two)
    assert model.description.defaultFunctionName == "main"
    found = {
        function.name: [
            (feature.name, list(feature.type.multiArrayType.shape), feature.shortDescription)
            for feature in (*function.input, *function.output)
        ]
        for function in model.description.functions
    }
    assert found == {
        name: [
            ("sample", [1, CHANNELS, *size], "Latents."),
            ("noise_pred", [1, CHANNELS, *size], "The noise in them."),
        ]
        for name, size in TWO.items()
    }
    assert set(model.mlProgram.functions) == set(TWO)


def test_equal_constants_are_shared_and_others_are_not(tmp_path: Path) -> None:
    """Functions of which one weight differs: five are stored."""
    program, target = network(ONE, weights())
    altered = weights()
    altered["conv.2.weight"] = altered["conv.2.weight"] + np.float16(0.25)
    other, _ = network({"other": (16, 24)}, {key: array.copy() for key, array in altered.items()})
    program.add_function("other", other.functions["other"])
    save(program, tmp_path / "Unet.mlpackage", target=target, description=Description())
    size = (tmp_path / "Unet.mlpackage" / WEIGHTS).stat().st_size
    each = next(iter(weights().values())).nbytes
    assert 5 * each < size < 5.5 * each
    offsets = weight_offsets(spec(tmp_path / "Unet.mlpackage"))
    same = [a == b for a, b in zip(offsets["main"], offsets["other"], strict=True)]
    assert same == [True, True, False, True]


def weight_offsets(model: Any) -> dict[str, list[int]]:
    return {
        name: [
            op.attributes["val"].blobFileValue.offset
            for op in operators(function)
            if op.attributes["val"].WhichOneof("value") == "blobFileValue"
        ]
        for name, function in model.mlProgram.functions.items()
    }


def test_constants_of_equal_bytes_and_other_dtypes_are_two(tmp_path: Path) -> None:
    def body(array: Array) -> Callable[[Any, Any], Any]:
        return lambda mb, x: mb.add(x=x, y=array, name="y")

    program, target = program_of(
        {
            "main": Made({"x": (4, 16)}, body(np.zeros((4, 16), np.float32)), "fp32"),
            "other": Made({"x": (4, 16)}, body(np.zeros((4, 16), np.int32)), "int32"),
        }
    )
    save(program, tmp_path / "A.mlpackage", target=target, description=Description())
    offsets = weight_offsets(spec(tmp_path / "A.mlpackage"))
    assert len({*offsets["main"], *offsets["other"]}) == 2


def test_compressed_weights_are_shared(tmp_path: Path) -> None:
    """A palette's indices and its values, of which there are few."""
    from coremltools.converters.mil.mil import types

    draw = np.random.default_rng(3)
    indices = draw.integers(0, 16, (64, 64)).astype(types.nptype_from_builtin(types.uint4))
    palette = draw.standard_normal((1, 1, 16, 1)).astype(np.float16)

    def body(mb: Any, x: Any) -> Any:
        weight = mb.constexpr_lut_to_dense(indices=indices.copy(), lut=palette.copy())
        return mb.linear(x=x, weight=weight, name="y")

    stored: list[bytes] = []
    for name, functions in (
        ("A", {"main": Made({"x": (2, 64)}, body)}),
        ("B", {"main": Made({"x": (2, 64)}, body), "size": Made({"x": (3, 64)}, body)}),
    ):
        program, target = program_of(functions)
        save(program, tmp_path / f"{name}.mlpackage", target=target, description=Description())
        stored.append((tmp_path / f"{name}.mlpackage" / WEIGHTS).read_bytes())
    assert stored[0] == stored[1]
    assert len(stored[0]) < 64 * 64 // 2 + 1024


def test_program_without_weights_has_no_weight_file(tmp_path: Path) -> None:
    package = write(tmp_path / "A.mlpackage", arrays={})
    assert set(contents(package)) == {"Manifest.json", MODEL}
    manifest = json.loads((package / "Manifest.json").read_text("utf-8"))
    assert len(manifest["itemInfoEntries"]) == 1


def test_more_axes_than_core_ml_takes_are_refused(tmp_path: Path) -> None:
    def body(mb: Any, x: Any) -> Any:
        return mb.reshape(x=mb.reshape(x=x, shape=[2] * 6), shape=[8, 8], name="y")

    program, target = program_of({"main": Made({"x": (1, 64)}, body)}, "iOS16")
    with pytest.raises(CompileError, match=r"Core ML can't run this network: .*rank <= 5"):
        save(program, tmp_path / "A.mlpackage", target=target, description=Description())
    assert list(tmp_path.iterdir()) == []


def test_mapped_weights_are_written_as_they_lie(one: Path, tmp_path: Path) -> None:
    arrays: dict[str, Array] = {}
    for index, (key, array) in enumerate(weights().items()):
        path = tmp_path / f"{index}.bin"
        path.write_bytes(array.tobytes())
        arrays[key] = np.memmap(path, np.float16, mode="r", shape=array.shape)
    package = write(tmp_path / "Unet.mlpackage", arrays=arrays)
    assert contents(package) == contents(one)
