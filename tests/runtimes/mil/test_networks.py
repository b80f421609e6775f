"""Whole networks: converted by coremltools and evaluated, against torch; compressed and dense."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from exporter.components.unet import UNet
from runtimes.mil.executor import Arithmetic, Executor
from runtimes.mil.package import open_package
from runtimes.mil.values import Array
from tests.runtimes.mil.packages import small_feeds, write_small


def psnr(found: Array, expected: Array) -> float:
    """In dB, to the range of what is expected."""
    wanted = expected.astype(np.float64)
    error = np.mean(np.square(found.astype(np.float64) - wanted))
    return float(10 * np.log10(np.ptp(wanted) ** 2 / error))


@dataclass(frozen=True)
class Network:
    """A U-Net, what it is fed and what torch makes of that."""

    program: Any
    feeds: Mapping[str, Array]
    expected: Array


@pytest.fixture(scope="module")
def unet(tiny_sd15: Path) -> Network:
    component = UNet()
    config = json.loads((tiny_sd15 / "unet/config.json").read_text(encoding="utf-8"))
    config = component.normalise(config)
    torch.manual_seed(0)
    network = component.wrap(component.build(config), config).eval()
    sizes = {"batch": 2, "height": 16, "width": 8, "sequence": 7}
    shapes = {
        port.name: tuple(sizes.get(str(axis), axis) for axis in port.shape)
        for port in component.inputs(config)
    }
    fed = {name: torch.randn(cast("Any", shape)) for name, shape in shapes.items()}
    fed["timestep"] = torch.tensor([321.0])
    with torch.no_grad():
        expected = network(*fed.values())
        program = torch.export.export(network, tuple(fed.values())).run_decompositions({})
    return Network(program, {k: v.numpy() for k, v in fed.items()}, expected.numpy())


Converted = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def converted(unet: Network, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    """The package of the U-Net for an operation set, in a precision; converted on first use."""
    import coremltools

    ct = cast("Any", coremltools)
    folder = tmp_path_factory.mktemp("converted")

    def of(opset: str, precision: str) -> Path:
        path = folder / f"{opset}-{precision}.mlpackage"
        if not path.exists():
            ct.convert(
                unet.program,
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, opset),
                compute_precision=getattr(ct.precision, precision),
                inputs=[ct.TensorType(name=k, shape=v.shape) for k, v in unet.feeds.items()],
                outputs=[ct.TensorType(name="out_sample", dtype=np.float32)],
                skip_model_load=True,
            ).save(str(path))
        return path

    return of


# With float32 throughout, the order of sums alone differs. With fp16 the weights are rounded, and
# in the last case every value.
BOUNDS: dict[tuple[str, Arithmetic], float] = {
    ("FLOAT32", "fp32"): 100,
    ("FLOAT16", "fp32"): 60,
    ("FLOAT16", "fp16"): 50,
}


@pytest.mark.slow
@pytest.mark.parametrize("opset", ["iOS16", "iOS18"])
@pytest.mark.parametrize(("precision", "arithmetic"), BOUNDS)
def test_a_converted_unet_is_torchs(
    opset: str, precision: str, arithmetic: Arithmetic, unet: Network, converted: Converted
) -> None:
    executor = Executor(open_package(converted(opset, precision)), arithmetic=arithmetic)
    ops = {one.op for one in executor.function.block.operations}
    assert ("scaled_dot_product_attention" in ops) == (opset == "iOS18")
    found = executor(unet.feeds)["out_sample"]
    assert psnr(found, unet.expected) >= BOUNDS[precision, arithmetic]


def palettized(ct: Any, **config: object) -> Callable[[Any], Any]:
    coreml = ct.optimize.coreml
    made = coreml.OpPalettizerConfig(weight_threshold=32, **config)
    return lambda model: coreml.palettize_weights(
        model, coreml.OptimizationConfig(global_config=made)
    )


def quantized(ct: Any, **config: object) -> Callable[[Any], Any]:
    coreml = ct.optimize.coreml
    made = coreml.OpLinearQuantizerConfig(weight_threshold=32, **config)
    return lambda model: coreml.linear_quantize_weights(
        model, coreml.OptimizationConfig(global_config=made)
    )


def pruned(ct: Any) -> Callable[[Any], Any]:
    coreml = ct.optimize.coreml
    made = coreml.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=32)
    return lambda model: coreml.prune_weights(model, coreml.OptimizationConfig(global_config=made))


COMPRESSIONS: dict[str, tuple[str, str, Callable[[Any], Callable[[Any], Any]]]] = {
    "6 bits": (
        "iOS16",
        "constexpr_lut_to_dense",
        lambda ct: palettized(ct, mode="uniform", nbits=6),
    ),
    "4 bits by channels": (
        "iOS18",
        "constexpr_lut_to_dense",
        lambda ct: palettized(
            ct, mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=2
        ),
    ),
    "int8": ("iOS16", "constexpr_affine_dequantize", lambda ct: quantized(ct, dtype="int8")),
    "uint8": (
        "iOS16",
        "constexpr_affine_dequantize",
        lambda ct: quantized(ct, dtype="uint8", mode="linear"),
    ),
    "int4 by blocks": (
        "iOS18",
        "constexpr_blockwise_shift_scale",
        lambda ct: quantized(ct, dtype="int4", granularity="per_block", block_size=2),
    ),
    "sparse": ("iOS16", "constexpr_sparse_to_dense", pruned),
    "sparse by bits": ("iOS18", "constexpr_sparse_to_dense", pruned),
}


@pytest.mark.slow
@pytest.mark.parametrize("label", COMPRESSIONS)
def test_compressed_packages_are_what_coremltools_makes_dense(label: str, tmp_path: Path) -> None:
    import coremltools

    ct = cast("Any", coremltools)
    opset, op, compression = COMPRESSIONS[label]
    write_small(tmp_path / "small.mlpackage", opset, "fp16")
    model = ct.models.MLModel(str(tmp_path / "small.mlpackage"), skip_model_load=True)
    compressed = compression(ct)(model)
    compressed.save(str(tmp_path / "compressed.mlpackage"))
    dense = ct.optimize.coreml.decompress_weights(compressed)
    dense.save(str(tmp_path / "dense.mlpackage"))
    executor = Executor(open_package(tmp_path / "compressed.mlpackage"))
    assert op in {one.op for one in executor.function.block.operations}
    expected = Executor(open_package(tmp_path / "dense.mlpackage"))(small_feeds())
    for name, found in executor(small_feeds()).items():
        np.testing.assert_array_equal(found, expected[name])
