"""Sizes in one package: which may be together, and how their functions are called."""

from __future__ import annotations

import pytest

from exporter.coreml.sizes import check_sizes, function_name, graph_name
from exporter.coreml.targets import check_target
from runtimes.errors import UsageError

SIZES = ((512, 512), (768, 512))


@pytest.mark.parametrize("target", ["iOS16", "macOS14"])
def test_one_size_is_for_all_targets(target: str) -> None:
    check_sizes(SIZES[:1], check_target(target))


@pytest.mark.parametrize("target", ["iOS18", "macOS15", "iOS26"])
def test_several_are_from_ios_18_on(target: str) -> None:
    check_sizes(SIZES, check_target(target))


def test_several_are_refused_before() -> None:
    with pytest.raises(UsageError) as refusal:
        check_sizes(SIZES, check_target("macOS14"))
    assert str(refusal.value) == (
        "several sizes in one package (512x512, 768x512): Core ML has it from iOS18/macOS15 on, "
        "and the deployment target is iOS17/macOS14. Ask for --deployment-target iOS18, or do "
        "without."
    )


def test_first_size_is_the_main_one() -> None:
    assert [function_name(SIZES, size) for size in SIZES] == ["main", "size_768x512"]
    assert [graph_name(SIZES, size) for size in SIZES] == ["model", "model.768x512"]
