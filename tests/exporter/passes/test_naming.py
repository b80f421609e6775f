"""Names of nodes and values."""

from __future__ import annotations

import onnx_ir as ir

from exporter.passes.naming import (
    MODULE_KEY,
    mark_modules,
    merge_origins,
    module_of,
    name_nodes,
    origins_of,
    set_origins,
)


def model_of(*paths: str | None) -> ir.Model:
    """A chain of Relu nodes that come from these modules."""
    body = " ".join(f"v{n + 1} = Relu (v{n})" for n in range(len(paths)))
    model = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["": 23]>
        g (float[2] v0) => (float[2] v{len(paths)}) {{ {body} }}""")
    for node, path in zip(model.graph, paths, strict=True):
        node.name = None
        if path is not None:
            node.metadata_props[MODULE_KEY] = path
    return model


def names(model: ir.Model) -> list[str | None]:
    return [node.name for node in model.graph]


def test_names_say_the_module_and_number_the_second_and_later_ones() -> None:
    model = name_nodes(model_of("a.b", "a.b", "c", "a.b"))
    assert names(model) == ["a.b/Relu", "a.b/Relu.1", "c/Relu", "a.b/Relu.2"]
    assert [node.outputs[0].name for node in model.graph][:3] == names(model)[:3]
    assert model.graph.outputs[0].name == "v4"


def test_naming_again_changes_nothing() -> None:
    model = name_nodes(mark_modules(model_of("a", "", "a")))
    before = names(model)
    assert names(name_nodes(mark_modules(model))) == before == ["a/Relu", "/Relu", "a/Relu.1"]


def test_a_node_outside_all_modules_has_no_path_and_an_added_one_has_its_inputs() -> None:
    model = mark_modules(model_of("a", None))
    added = ir.node("Sigmoid", [model.graph.node(0).outputs[0]])
    model.graph.append(added)
    assert module_of(model.graph.node(1)) == ""
    assert module_of(added) == "a"


def test_torchs_placeholder_is_no_module() -> None:
    model = mark_modules(model_of("_empty_nn_module_stack_from_metadata_hook"))
    assert names(name_nodes(model)) == ["/Relu"]


def test_further_outputs_are_numbered() -> None:
    model = ir.from_onnx_text("""<ir_version: 10, opset_import: ["": 23]>
        g (float[4] x) => (float[2] y)
        { a, b = Split <num_outputs = 2> (x) y = Add (a, b) }""")
    name_nodes(mark_modules(model))
    assert [value.name for value in model.graph.node(0).outputs] == ["/Split", "/Split:1"]


def test_origins_follow_values_to_their_new_names() -> None:
    model = mark_modules(model_of("a", "a", "b"))
    set_origins(model.graph, {"v0": ("x",), "v1": ("relu",), "v3": ("relu_2",), "gone": ("g",)})
    name_nodes(model)
    expected = {"v0": ("x",), "a/Relu": ("relu",), "v3": ("relu_2",)}
    assert origins_of(model.graph) == expected
    assert origins_of(name_nodes(model).graph) == expected


def test_a_merged_value_stands_for_both_and_files_know_nothing_of_it() -> None:
    model = mark_modules(model_of("a", "b"))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    set_origins(model.graph, {"v1": ("relu",), "v2": ("relu_1",)})
    merge_origins(model.graph, "v1", "v2")
    merge_origins(model.graph, "nobody", "knows")
    assert origins_of(model.graph)["v1"] == ("relu", "relu_1")
    assert "nobody" not in origins_of(model.graph)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
