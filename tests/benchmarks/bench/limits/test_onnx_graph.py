"""ONNX graphs at concrete sizes: free sizes, computed shapes, branches, weights left alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from benchmarks.bench.limits.count import count
from benchmarks.bench.limits.graph import CountError
from benchmarks.bench.limits.onnx_graph import read_onnx_graph
from benchmarks.bench.results import OpKind

HEAD = '<ir_version: 10, opset_import: ["" : 18, "com.microsoft" : 1, "other" : 1]>'


def write(folder: Path, text: str, weights: Sequence[onnx.TensorProto] = ()) -> Path:
    model = parser.parse_model(f"{HEAD} {text}")
    model.graph.initializer.extend(weights)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def absent(name: str, dtype: int, *sizes: int) -> onnx.TensorProto:
    """A weight in a file that isn't there."""
    tensor = TensorProto(name=name, data_type=dtype, dims=sizes)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="absent.safetensors")
    return tensor


def by_kind(kinds: Sequence[OpKind]) -> dict[str, OpKind]:
    return {kind.kind: kind for kind in kinds}


def test_weights_are_counted_as_stored_and_not_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """g (float[n, 3] x) => (float[n, 5] y) {
            wide = Cast <to = 1> (w)
            turned = Transpose <perm = [1, 0]> (wide)
            y = MatMul (x, turned)
        }""",
        [absent("w", TensorProto.FLOAT16, 5, 3)],
    )
    found = count(path, {"x": (7, 3)})
    assert found.by_kind == (
        OpKind(kind="MatMul", nodes=1, flops=2 * 7 * 3 * 5, bytes=4 * 7 * 3 + 2 * 15 + 4 * 7 * 5),
    )
    assert found.bytes == found.bytes_by_node
    assert found.outputs == {"y": (7, 5)}
    assert found.note is None


def test_computed_shapes_are_followed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """g (float[n, 6, h, w] x) => (float[n, 2, m] y)
        <int64 zero = {0}, int64[1] rest = {-1}, int64[1] two = {2}, int64 one = {1},
         int64[1] first = {0}> {
            shape = Shape (x)
            batch = Gather <axis = 0> (shape, zero)
            batch_1 = Unsqueeze (batch, first)
            doubled = Mul (two, batch_1)
            halved = Div (doubled, two)
            target = Concat <axis = 0> (halved, two, rest)
            flat = Reshape (x, target)
            y = Add (flat, flat)
        }""",
    )
    found = count(path, {"x": (5, 6, 3, 7)})
    assert found.outputs == {"y": (5, 2, 63)}
    assert found.flops == 5 * 6 * 3 * 7


def test_a_range_of_a_computed_length(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """g (float[n, t] x) => (float[n, t] y) <int64 zero = {0}, int64 one = {1}> {
            shape = Shape (x)
            length = Gather (shape, one)
            positions = Range (zero, length, one)
            wide = Cast <to = 1> (positions)
            y = Mul (x, wide)
        }""",
    )
    assert count(path, {"x": (2, 70)}).outputs == {"y": (2, 70)}


def test_an_embedding_reads_its_rows_and_no_more(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "g (int64[n, t] ids) => (float[n, t, 8] y) { y = Gather (table, ids) }",
        [absent("table", TensorProto.FLOAT, 1000, 8)],
    )
    found = count(path, {"ids": (2, 3)})
    rows, ids = 2 * 3 * 8 * 4, 2 * 3 * 8
    assert found.bytes_by_node == rows + ids + rows
    assert found.bytes == rows + ids + rows
    assert found.flops == 0


def test_a_shared_weight_is_moved_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "g (float[n, 3] x) => (float[n, 3] y) { z = MatMul (x, w) y = MatMul (z, w) }",
        [absent("w", TensorProto.FLOAT, 3, 3)],
    )
    found = count(path, {"x": (7, 3)})
    assert found.bytes == 4 * 9 + 2 * 4 * 21
    assert found.bytes_by_node == 2 * (4 * 9 + 2 * 4 * 21)


@pytest.mark.parametrize(
    ("text", "shapes", "output"),
    [
        (
            """g (float[n, s, 8] x) => (float[n, s, 8] y) {
                y = com.microsoft.MultiHeadAttention <num_heads = 2> (x, x, x)
            }""",
            {"x": (2, 5, 8)},
            (2, 5, 8),
        ),
        (
            """g (float[n, 3, h] x, float[4, 3, 3] w) => (float[n, 4, h] y) {
                y = com.microsoft.FusedConv <activation = "Relu", pads = [1, 1]> (x, w)
            }""",
            {"x": (2, 3, 9), "w": (4, 3, 3)},
            (2, 4, 9),
        ),
        (
            """g (float[3, n] x, float[4, 3] w) => (float[n, 4] y) {
                y = com.microsoft.FusedMatMul <transA = 1, transB = 1, alpha = 0.5> (x, w)
            }""",
            {"x": (3, 6), "w": (4, 3)},
            (6, 4),
        ),
        (
            """g (float[n, 3] x, uint8[5, 1, 16] w, float[5] s) => (float[n, 5] y) {
                y = com.microsoft.MatMulNBits <K = 3, N = 5, bits = 4, block_size = 32> (x, w, s)
            }""",
            {"x": (6, 3), "w": (5, 1, 16), "s": (5,)},
            (6, 5),
        ),
        (
            """g (float[n, s, 8] x, float[8, 24] w, float[24] b) => (float[n, s, 8] y) {
                y = com.microsoft.Attention <num_heads = 2> (x, w, b)
            }""",
            {"x": (2, 5, 8), "w": (8, 24), "b": (24,)},
            (2, 5, 8),
        ),
        (
            """g (float[n, 8] x) => (float[n, 4] y) {
                y = com.microsoft.BiasSplitGelu (x, x)
            }""",
            {"x": (2, 8)},
            (2, 4),
        ),
    ],
)
def test_operators_of_onnx_runtime(
    tmp_path: Path, text: str, shapes: dict[str, tuple[int, ...]], output: tuple[int, ...]
) -> None:
    found = count(write(tmp_path, text), shapes)
    assert found.outputs == {"y": output}
    assert found.flops > 0
    assert found.note is None


def test_an_unknown_operator_is_told_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """g (float[n, 3] x) => (float[n, 3] y) {
            z = other.Wavelet (x) a = Det (m) y = other.Wavelet (z)
        }""",
        [],
    )
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, [4, 4]))
    path.write_bytes(model.SerializeToString())
    found = count(path, {"x": (7, 3), "m": (4, 4)})
    assert by_kind(found.by_kind)["Wavelet"].flops == 2 * 21
    assert found.note == (
        "unknown operators, counted as element-wise: Det (1 node), "
        "other.Wavelet (2 nodes, sizes taken from its first input)"
    )


@pytest.mark.parametrize(("size", "flops"), [(2, 3 * 2), (5, 1 * 5)])
def test_a_branch_that_the_sizes_choose(tmp_path: Path, size: int, flops: int) -> None:
    path = write(
        tmp_path,
        """g (float[n] x) => (float[n] y) <int64[1] two = {2}> {
            shape = Shape (x)
            same = Equal (shape, two)
            y = If (same) <
                then_branch = a () => (float[n] t) { t = Sigmoid (x) },
                else_branch = b () => (float[n] e) { e = Neg (x) }
            >
        }""",
    )
    found = count(path, {"x": (size,)})
    assert found.flops == flops
    assert found.outputs == {"y": (size,)}


def test_functions_of_the_model_are_counted(tmp_path: Path) -> None:
    function = """
        <opset_import: ["" : 18], domain: "other">
        twice (a) => (b) { b = Add (a, a) }"""
    model = parser.parse_model(
        f"{HEAD} g (float[n] x) => (float[n] y) {{ y = other.twice (x) }} {function}"
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert count(path, {"x": (9,)}).flops == 9


LOOP = """g (float[n] x) => (float[n] y) <int64 times = {3}, bool go = {1}> {
    y = Loop (times, go, x) <body = b (int64 i, bool c, float[n] v) => (bool d, float[n] w) {
        d = Identity (c) w = Neg (v)
    }>
}"""
CHOICE = """g (float[n] x, bool c) => (float[n] y) {
    y = If (c) <then_branch = a () => (float[n] t) { t = Neg (x) },
                else_branch = b () => (float[n] e) { e = Abs (x) }>
}"""
FOUND = "g (float[n] x) => (int64[1, m] y) { y = NonZero (x) }"
WRONG = "g (float[n, 3] x, float[4, 5] w) => (float[n, 5] y) { y = MatMul (x, w) }"
MIXED = "g (float[n, 3] x, float16[3, 5] w) => (float[n, 5] y) { y = MatMul (x, w) }"
ADD = "g (float[n, 3] x) => (float[n, 3] y) { y = Add (x, x) }"
DANGLING = "g (float[n, 3] x) => (float[n, 3] y) { y = Add (x, gone) }"


@pytest.mark.parametrize(
    ("text", "shapes", "error"),
    [
        (ADD, {}, r"no shape is given of the graph's input x \(given: none\)\."),
        (ADD, {"x": (2, 4)}, r"input x has shape \[n, 3\], given was \[2, 4\]\."),
        (ADD, {"x": (2,)}, r"input x has shape \[n, 3\], given was \[2\]\."),
        (DANGLING, {"x": (2, 3)}, r".* reads gone, which no node before it gives\."),
        (
            FOUND,
            {"x": (2,)},
            r"the sizes that y \(NonZero\) gives can't be told from the sizes of the inputs\.",
        ),
        (WRONG, {"x": (2, 3), "w": (4, 5)}, r"y \(MatMul\) doesn't fit its inputs: .+"),
        (MIXED, {"x": (2, 3), "w": (3, 5)}, r"y \(MatMul\) doesn't fit its inputs: .+"),
        (CHOICE, {"x": (2,), "c": ()}, r"which branch .* \(If\) takes depends on the data\."),
        (
            LOOP,
            {"x": (2,)},
            r".* \(Loop\) runs a graph of its own as often as the data say; it can't be counted\.",
        ),
    ],
)
def test_what_can_not_be_counted(
    tmp_path: Path, text: str, shapes: dict[str, tuple[int, ...]], error: str
) -> None:
    with pytest.raises(CountError, match=f"^{error}$"):
        count(write(tmp_path, text), shapes)


@pytest.mark.parametrize("content", [None, b"<xml/>"])
def test_a_file_that_is_no_graph(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CountError, match=f"^{re.escape(str(path))} can't be read: .+$"):
        read_onnx_graph(path, {})


def test_small_constants_in_files_are_read_where_sizes_need_them(tmp_path: Path) -> None:
    target = numpy_helper.from_array(np.array([2, -1], np.int64), "target")
    path = write(tmp_path, "g (float[n] x) => (float[2, m] y) { y = Reshape (x, target) }")
    model = onnx.load(path)
    model.graph.initializer.append(target)
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="small.bin",
        size_threshold=0,
    )
    assert count(path, {"x": (6,)}).outputs == {"y": (2, 3)}
