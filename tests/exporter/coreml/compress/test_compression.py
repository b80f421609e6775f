"""Which weights of a component are compressed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from exporter.coreml.compress.compression import Compression, is_compressible
from exporter.coreml.compress.emit import emit
from exporter.coreml.compress.scheme import palette, parse_scheme
from exporter.coreml.compress.tensor import compress
from exporter.coreml.targets import check_target
from exporter.errors import CompileError

LINEAR = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (LINEAR, (320, 320)),
        (LINEAR, (320, 320, 1, 1)),
        ("down_blocks.0.resnets.0.conv1.weight", (320, 320, 3, 3)),
        ("down_blocks.0.downsamplers.0.conv.weight", (320, 320, 3, 3)),
        ("time_embedding.linear_1.weight", (1280, 320)),
        ("down_blocks.0.resnets.0.time_emb_proj.weight", (320, 1280)),
        ("text_model.encoder.layers.0.mlp.fc1.weight", (3072, 768)),
        ("text_projection.weight", (1280, 1280)),
        ("decoder.mid_block.attentions.0.to_q.weight", (512, 512)),
    ],
)
def test_convolutions_and_linear_layers_are_compressed(key: str, shape: tuple[int, ...]) -> None:
    assert is_compressible(key, shape)


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("text_model.embeddings.token_embedding.weight", (49408, 768)),
        ("text_model.embeddings.position_embedding.weight", (77, 768)),
        ("class_embedding.weight", (1000, 1280)),
        ("down_blocks.0.resnets.0.norm1.weight", (4096,)),
        ("down_blocks.0.resnets.0.conv1.bias", (4096,)),
        ("conv_in.weight", (320, 4, 3, 3)),
        ("conv_out.weight", (4, 320, 3, 3)),
        ("decoder.conv_in.weight", (512, 4, 3, 3)),
        ("encoder.conv_out.weight", (8, 512, 3, 3)),
        ("decoder.up_blocks.2.resnets.0.conv_shortcut.weight", (32, 64, 1, 1)),
    ],
)
def test_the_rest_stays_as_it_is(key: str, shape: tuple[int, ...]) -> None:
    assert not is_compressible(key, shape)
    assert Compression(parse_scheme("int8")).scheme_of(key, shape) is None


def test_2048_elements_are_too_few() -> None:
    assert not is_compressible(LINEAR, (64, 32))
    assert is_compressible(LINEAR, (64, 33))
    assert math.prod((64, 32)) == 2048


def test_a_mixed_scheme_takes_each_weights_own_from_its_recipe() -> None:
    compression = Compression(parse_scheme("mixed-4.5"), {LINEAR: palette(6), "a.weight": None})
    assert compression.scheme_of(LINEAR, (320, 320)) == palette(6)
    assert compression.scheme_of("a.weight", (320, 320)) is None
    with pytest.raises(CompileError, match=r"mixed-4\.5 has nothing on b\.weight; .* another"):
        compression.scheme_of("b.weight", (320, 320))


def test_a_linear_weight_is_emitted_in_the_shape_that_is_asked_for() -> None:
    ct = pytest.importorskip("coremltools")
    from coremltools.converters.mil import Builder, mil

    values = np.random.default_rng(0).standard_normal((64, 96)).astype(np.float16)
    found = {}
    with mil.Function({"x": Builder.TensorSpec((1,))}, opset_version=ct.target.iOS18):
        for name in ("palette-4-g16", "int8", "int4"):
            for shape in ((64, 96), (64, 96, 1, 1)):
                compressed = compress(values.reshape(shape), parse_scheme(name))
                named = f"{name.replace('-', '_')}_{len(shape)}_weight"
                var = emit(named, compressed, check_target("iOS18"))
                assert var.shape == shape
                assert var.name == named
                found[name, len(shape)] = var.op.materialized_val_inference().reshape(64, 96)
            np.testing.assert_array_equal(found[name, 2], found[name, 4])
