"""Programs freed of torch's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.fx import Node

from exporter.coreml.program import Program, evaluate
from exporter.coreml.rewrites.forget_memory import forget_memory
from tests.exporter.coreml.rewrites.programs import built

_aten: Any = torch.ops.aten


def test_views_of_values_that_lie_otherwise_are_read_and_assertions_go() -> None:
    def make(program: Program, given: dict[str, Node]) -> Node:
        flat = program.call(_aten.view.default, given["x"], [6])
        program.graph.call_function(
            _aten._assert_tensor_metadata.default, (flat, None, None, torch.float64)
        )
        return flat

    program = built({"x": (2, 3)}, make)
    with program.graph.inserting_after(program.inputs["x"]):
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        turned = program.graph.call_function(_aten.t.default, (program.inputs["x"],))
    program.outputs["out"].replace_input_with(program.inputs["x"], turned)
    forget_memory(program)
    np.testing.assert_array_equal(evaluate(program, {"x": x}, {})["out"], x.T.ravel())
