"""Fixed sizes: what they settle, and what they refuse."""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir
import pytest

from exporter.passes.fix_sizes import axes_of, fix_sizes
from exporter.passes.shapes import sizes_of
from runtimes.errors import UsageError
from tests.exporter.passes.networks import (
    NETWORKS,
    ODD,
    assert_close,
    captured,
    elements,
    give_weights,
    portable,
    run_onnxruntime,
)

ODD_SHAPES = {
    "unet": {"out_sample": (3, 4, 9, 13)},
    "text_encoder": {
        "last_hidden_state": (3, 77, 32),
        "pooler_output": (3, 32),
        "hidden_states.0": (3, 77, 32),
        "hidden_states.1": (3, 77, 32),
        "hidden_states.2": (3, 77, 32),
        "normalised_states.0": (3, 77, 32),
        "normalised_states.1": (3, 77, 32),
    },
    "vae_decoder": {"sample": (3, 3, 18, 26)},
    "vae_encoder": {"latent_parameters": (3, 8, 9, 13)},
}


def fixed(name: str, **sizes: int) -> ir.Model:
    return fix_sizes(portable(name), sizes)


def odd(name: str) -> ir.Model:
    model = portable(name)
    return fix_sizes(model, {axis: ODD[axis] for axis in axes_of(model)})


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("unet", ("batch", "height", "width", "sequence")),
        ("text_encoder", ("batch",)),
        ("vae_decoder", ("batch", "height", "width")),
        ("vae_encoder", ("batch", "image_height", "image_width")),
    ],
)
def test_axes(name: str, axes: tuple[str, ...]) -> None:
    assert axes_of(portable(name)) == axes


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_get_their_sizes(name: str) -> None:
    shapes = {str(value.name): sizes_of(value) for value in odd(name).graph.outputs}
    assert shapes == ODD_SHAPES[name]


@pytest.mark.parametrize("name", NETWORKS)
def test_no_size_is_computed_any_more(name: str) -> None:
    model = odd(name)
    count = Counter(node.op_type for node in model.graph)
    assert count["Shape"] == count["Squeeze"] - (name == "text_encoder") == 0
    for node in model.graph:
        integer = node.outputs[0].dtype == ir.DataType.INT64
        # CLIP finds the end of the text by integers; that isn't about shapes.
        assert not integer or name == "text_encoder", node.name
        if node.op_type == "Reshape":
            assert (elements(node.inputs[1]) > 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_size_of_every_value_is_known(name: str) -> None:
    for node in odd(name).graph:
        for value in node.outputs:
            sizes = sizes_of(value)
            assert sizes is not None, node.name
            assert all(isinstance(size, int) for size in sizes), node.name


def test_axes_that_are_left_out_stay_free() -> None:
    network = captured("unet")
    model = fixed("unet", height=9, width=13)
    assert axes_of(model) == ("batch", "sequence")
    assert sizes_of(model.graph.outputs[0]) == ("batch", 4, 9, 13)
    give_weights(model, network.state())
    for batch in (1, 3):
        sizes = {**ODD, "batch": batch}
        assert_close(run_onnxruntime(model, network.feeds(sizes)), network.expected(sizes))


def test_a_picture_of_fixed_size_leaves_the_batch_alone_to_compute() -> None:
    count = Counter(node.op_type for node in fixed("unet", height=9, width=13).graph)
    # The time embedding is expanded to the batch, and the upsampling keeps it.
    assert (count["Shape"], count["Resize"], count["Expand"]) == (2, 1, 1)
    # Beside the 7 that join feature maps or embeddings, one makes the upsampling's target.
    assert count["Concat"] == 7


def test_fixing_nothing_changes_nothing() -> None:
    first = ir.to_proto(portable("unet")).SerializeToString(deterministic=True)
    assert ir.to_proto(fixed("unet")).SerializeToString(deterministic=True) == first


def test_fixing_in_two_steps_is_fixing_at_once() -> None:
    at_once = fixed("unet", batch=3, height=9, width=13, sequence=11)
    in_steps = fix_sizes(fixed("unet", height=9, width=13), {"batch": 3, "sequence": 11})
    assert Counter(n.op_type for n in in_steps.graph) == Counter(n.op_type for n in at_once.graph)


def test_an_unknown_axis_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError) as error:
        fixed("unet", batch=1, heigth=8)
    assert str(error.value) == (
        "the graph has no symbolic axis 'heigth'; its axes: batch, height, width, sequence."
    )


def test_an_axis_that_is_fixed_already_is_refused() -> None:
    with pytest.raises(UsageError) as error:
        fix_sizes(odd("unet"), {"batch": 1})
    assert str(error.value) == (
        "the graph has no symbolic axis 'batch'; its axes: none, all its sizes are fixed."
    )


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(UsageError) as error:
        fixed("unet", height=size)
    assert str(error.value) == f"axis 'height' can't have size {size}; sizes are 1 or more."
