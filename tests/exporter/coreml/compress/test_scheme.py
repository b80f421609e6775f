"""Names of compression, and the deployment targets that each needs."""

from __future__ import annotations

import pytest

from exporter.coreml.compress.scheme import Kind, Scheme, check_scheme, parse_scheme
from exporter.coreml.targets import check_target, target_names
from runtimes.errors import UsageError

NAMES: dict[str, tuple[Scheme, int]] = {
    "palette-8": (Scheme(Kind.PALETTE, 8), 16),
    "palette-6": (Scheme(Kind.PALETTE, 6), 16),
    "palette-4": (Scheme(Kind.PALETTE, 4), 16),
    "palette-3": (Scheme(Kind.PALETTE, 3), 18),
    "palette-2": (Scheme(Kind.PALETTE, 2), 16),
    "palette-1": (Scheme(Kind.PALETTE, 1), 16),
    "palette-4-g16": (Scheme(Kind.PALETTE, 4, group=16), 18),
    "int8": (Scheme(Kind.LINEAR, 8), 16),
    "int4": (Scheme(Kind.LINEAR, 4, block=32), 18),
    "mixed-4.5": (Scheme(Kind.MIXED, 4.5), 16),
    "mixed-4": (Scheme(Kind.MIXED, 4.0), 16),
    "w8a8": (Scheme(Kind.LINEAR, 8, activations=True), 17),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_a_scheme_that_has_it(name: str) -> None:
    scheme, since = NAMES[name]
    assert parse_scheme(name) == scheme
    assert scheme.name == name
    assert scheme.since == check_target(f"iOS{since}")


@pytest.mark.parametrize(
    "name",
    ["palette-5", "palette-7", "palette-4-g0", "palette-4-", "palette", "int2", "Int8", "", "fp16"],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_scheme(name)
    message = str(raised.value)
    assert repr(name) in message
    for known in ("palette-8", "palette-N-gM", "int8", "int4", "mixed-B", "w8a8"):
        assert known in message


@pytest.mark.parametrize("name", ["mixed-1", "mixed-0.5", "mixed-16", "mixed-20"])
def test_an_average_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}: .* between 1 and 16, both excluded"):
        parse_scheme(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", target_names())
def test_a_scheme_is_refused_where_the_target_is_too_old(name: str, target: str) -> None:
    scheme, since = NAMES[name]
    deployment = check_target(target)
    if deployment >= check_target(f"iOS{since}"):
        check_scheme(scheme, deployment)
        return
    message = f"weights as {name}: .* from iOS{since}/.* the deployment target is {deployment}"
    with pytest.raises(UsageError, match=message):
        check_scheme(scheme, deployment)
