"""The reader of protocol buffers against the protobuf package, and on broken bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import NodeProto, TensorProto

from runtimes.mil.wire import Message, WireError

INT64 = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=25)
@given(
    st.lists(INT64, max_size=5),
    st.lists(st.floats(width=32, allow_nan=False), max_size=5),
    st.lists(st.floats(allow_nan=False), max_size=5),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.binary(max_size=5),
)
def test_values_are_protobufs(
    integers: list[int], floats: list[float], doubles: list[float], text: str, raw: bytes
) -> None:
    tensor = TensorProto(
        dims=integers, float_data=floats, double_data=doubles, name=text, raw_data=raw
    )
    found = Message(memoryview(tensor.SerializeToString()))
    assert found.integers(1) == integers
    np.testing.assert_array_equal(found.floats(4), np.array(floats, np.float32))
    np.testing.assert_array_equal(found.doubles(10), np.array(doubles, np.float64))
    assert found.text(8) == text
    assert found.bytes(9) == raw


def test_messages_and_texts_are_nested() -> None:
    node = NodeProto(input=["a", "b"])
    node.attribute.add(name="axis", i=-1)
    node.attribute.add(name="mode", s=b"x")
    found = Message(memoryview(node.SerializeToString()))
    assert found.texts(1) == ["a", "b"]
    assert [one.text(1) for one in found.messages(5)] == ["axis", "mode"]
    assert found.messages(5)[0].integer(3) == -1
    assert found.has(5)
    assert not found.has(6)
    assert found.message(6) is None
    assert found.integer(6) == 0


def test_numbers_come_packed_or_one_by_one() -> None:
    assert Message(memoryview(b"\x08\x05\x08\x07")).integers(1) == [5, 7]
    assert Message(memoryview(b"\x0a\x02\x05\x07")).integers(1) == [5, 7]
    one_by_one = b"\x25" + np.float32(1.5).tobytes() + b"\x25" + np.float32(2.5).tobytes()
    np.testing.assert_array_equal(Message(memoryview(one_by_one)).floats(4), [1.5, 2.5])


def test_maps_are_by_key() -> None:
    entry = b"\x0a\x01k\x12\x02\x08\x05"
    found = Message(memoryview(b"\x1a" + bytes([len(entry)]) + entry))
    assert found.entries(3)["k"].integer(1) == 5


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\x08", "cut off"),
        (b"\x08\xff\xff", "cut off"),
        (b"\x0a\x05ab", "cut off"),
        (b"\x25\x00", "cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x08" + b"\xff" * 11, "cut off"),
    ],
)
def test_broken_bytes_are_refused(raw: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        Message(memoryview(raw))


def test_values_of_another_kind_are_refused() -> None:
    with pytest.raises(WireError, match="field 1 is a number"):
        Message(memoryview(b"\x08\x05")).text(1)
    with pytest.raises(WireError, match="field 1 is no UTF-8"):
        Message(memoryview(b"\x0a\x01\xff")).text(1)
    with pytest.raises(WireError, match="3 bytes, no whole count of float32"):
        Message(memoryview(b"\x0a\x03abc")).floats(1)
