"""Compressed weights of a package: once for all functions, kept where there may be several."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

from exporter.coreml import constants
from exporter.coreml.compress.compression import Compression
from exporter.coreml.compress.scheme import parse_scheme
from exporter.coreml.constants import PackageWeights
from exporter.coreml.lower.rules import Weight
from exporter.coreml.targets import check_target


@pytest.mark.parametrize(("target", "kept"), [("iOS17", False), ("iOS18", True)])
def test_indices_stay_where_another_function_may_use_them(
    target: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coremltools.converters.mil.mil import Function

    made: list[weakref.ref[Any]] = []

    def compress(*given: Any, **said: Any) -> Any:
        compressed = real(*given, **said)
        made.append(weakref.ref(compressed))
        return compressed

    real = constants.compress
    monkeypatch.setattr(constants, "compress", compress)
    values = np.linspace(-1, 1, 64 * 64, dtype=np.float16).reshape(64, 64)
    deployment, key = check_target(target), "proj.weight"
    weights = PackageWeights(
        {key: values}, Compression(parse_scheme("palette-4")), deployment=deployment
    )
    weight = Weight(key, (64, 64), torch.float16)
    with Function({}, opset_version=deployment.sdk):
        weights.constants().constant(weight, matrix=True)
    assert [each() is not None for each in made] == [kept]
    if kept:
        with Function({}, opset_version=deployment.sdk):
            weights.constants().constant(weight, matrix=True)
        assert len(made) == 1
    assert not weights.weight_map()[key].adaptable
