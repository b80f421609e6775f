"""Deployment targets by name, and their order."""

from __future__ import annotations

import pytest

from exporter.coreml.targets import DEPLOYMENTS, check_target, target_names
from runtimes.errors import UsageError


@pytest.mark.parametrize("name", target_names())
def test_each_is_coremltools_own(name: str) -> None:
    import coremltools as ct

    deployment = check_target(name)
    assert deployment.sdk is ct.target[name]
    assert int(ct.target[name]) == deployment.specification


def test_all_of_coremltools_from_ios_16_on_are_there() -> None:
    """Three others run no such networks; those before iOS 16 have no half-precision inputs."""
    import coremltools as ct

    known = {
        name
        for name, target in ct.target.__members__.items()
        if target >= ct.target.iOS16 and name.startswith(("iOS", "macOS"))
    }
    assert set(target_names()) == known


def test_twins_are_equal_and_generations_are_in_order() -> None:
    assert check_target("macOS14") == check_target("iOS17")
    assert list(DEPLOYMENTS) == sorted(DEPLOYMENTS)
    assert check_target("iOS18") > check_target("macOS14") > check_target("iOS16")


def test_each_says_what_it_gains() -> None:
    assert len({deployment.gains for deployment in DEPLOYMENTS}) == len(DEPLOYMENTS)


@pytest.mark.parametrize(
    ("given", "closest"), [("ios17", "iOS17"), ("macOS 14", "macOS14"), ("iOS19", "iOS1")]
)
def test_unknown_ones_are_refused(given: str, closest: str) -> None:
    with pytest.raises(UsageError, match=rf"unknown deployment target '{given}'; .*{closest}"):
        check_target(given)


def test_what_a_target_lacks_is_refused() -> None:
    check_target("iOS18").require("macOS15", "attention 'sdpa'")
    with pytest.raises(UsageError, match=r"attention 'sdpa': .* from iOS18/macOS15 on, .* iOS17"):
        check_target("iOS17").require("iOS18", "attention 'sdpa'")
