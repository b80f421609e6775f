"""Any value of a graph, computed from any others."""

from __future__ import annotations

from exporter.probes import Dependencies, Step

STEPS = (
    Step("a", "Conv", ("x",), ("va",), ("w",)),
    Step("s", "Shape", ("va",), ("vs",), (), reads_shape=True),
    Step("b", "Relu", ("va",), ("vb",), ()),
    Step("c", "Reshape", ("vb", "vs"), ("vc",), ()),
)


def test_steps_between_come_in_order_of_execution() -> None:
    found = Dependencies.of(STEPS).between("vc", {"x"}, set())
    names = [step.name for step in found]
    assert set(names) == {"a", "s", "b", "c"}
    assert names.index("a") < min(names.index("s"), names.index("b"))
    assert names[-1] == "c"


def test_way_back_ends_at_known_values() -> None:
    found = Dependencies.of(STEPS).between("vc", {"x", "vb", "vs"}, set())
    assert [step.name for step in found] == ["c"]


def test_known_value_itself_is_computed_where_it_is_asked_for() -> None:
    found = Dependencies.of(STEPS).between("vb", {"va", "vb"}, set())
    assert [step.name for step in found] == ["b"]


def test_shape_of_a_value_needs_no_value() -> None:
    dependencies = Dependencies.of(STEPS)
    assert dependencies.needed("vc", {"x", "va", "vb"}, {"va"}) == {"vb"}
    assert dependencies.needed("vc", {"x", "va", "vb"}, set()) == {"va", "vb"}
