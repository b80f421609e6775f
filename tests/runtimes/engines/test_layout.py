"""Feeds in the layouts that graphs want."""

from __future__ import annotations

import re

import numpy as np
import pytest

from runtimes.engines.layout import check_layout, graph_shape, laid_out
from runtimes.errors import EngineError
from runtimes.manifest import Graph, Port


def graph(*inputs: Port, outputs: tuple[Port, ...] = ()) -> Graph:
    return Graph(
        file="unet/model.mlmodel", inputs=inputs, outputs=outputs, weights=(), precision="fp16"
    )


def port(
    name: str, *shape: int | str, axes: tuple[int, ...] | None = None, repeat: int = 1
) -> Port:
    return Port(role=name, name=name, dtype="float32", shape=shape, axes=axes, repeat=repeat)


CONTEXT = port("context", 2, 3, 4, axes=(0, 2, -1, 1))


def test_text_embeddings_get_channels_before_the_sequence() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    (found,) = laid_out(graph(CONTEXT), {"context": array}).values()
    assert found.shape == graph_shape(CONTEXT) == (2, 4, 1, 3)
    assert found.flags.c_contiguous
    for sample, token, channel in np.ndindex(array.shape):
        assert found[sample, channel, 0, token] == array[sample, token, channel]


def test_one_timestep_is_fed_to_each_sample() -> None:
    timestep = port("timestep", 1, repeat=2)
    (found,) = laid_out(graph(timestep), {"timestep": np.array([7.0], np.float32)}).values()
    np.testing.assert_array_equal(found, [7, 7])
    assert graph_shape(timestep) == (2,)


def test_axes_come_after_the_repetition() -> None:
    both = port("x", 1, 3, axes=(1, 0), repeat=2)
    (found,) = laid_out(graph(both), {"x": np.array([[1.0, 2, 3]], np.float32)}).values()
    np.testing.assert_array_equal(found, [[1, 1], [2, 2], [3, 3]])
    assert graph_shape(both) == (3, 2)


def test_what_lies_as_it_should_is_not_copied() -> None:
    sample = np.zeros((2, 4, 8, 8), np.float32)
    found = laid_out(graph(port("sample", 2, 4, "h", "w")), {"sample": sample})
    assert found["sample"] is sample
    assert graph_shape(port("sample", 2, 4, "h", "w")) == (2, 4, "h", "w")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (port("x", 2, 3, axes=(0, 2)), "input x of 2 axes can't be laid out as [0, 2]. Make"),
        (port("x", 2, 3, axes=(0,)), "input x of 2 axes can't be laid out as [0]. Make"),
        (port("x", 2, axes=(0, -2)), "input x of 1 axes can't be laid out as [0, -2]. Make"),
        (port("x", 2, repeat=0), "input x of shape [2] can't be repeated 0 times. Make"),
        (port("x", repeat=2), "input x of shape [] can't be repeated 2 times. Make"),
    ],
)
def test_a_layout_that_can_not_be_is_refused(wrong: Port, message: str) -> None:
    check_layout(graph(CONTEXT))
    with pytest.raises(EngineError, match=re.escape(f"unet/model.mlmodel: {message}")):
        check_layout(graph(CONTEXT, wrong))


def test_outputs_have_their_roles_shapes() -> None:
    with pytest.raises(EngineError, match=r"output context is laid out otherwise than its role"):
        check_layout(graph(outputs=(CONTEXT,)))
