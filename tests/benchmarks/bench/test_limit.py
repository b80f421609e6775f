"""`--fail-over`."""

from __future__ import annotations

import pytest

from benchmarks.bench.limit import parse_limit
from runtimes.errors import UsageError


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("2.5 %", 0.025), (" 0% ", 0.0), ("100%", 1.0), ("0.25%", 0.0025)],
)
def test_a_percentage_is_read(text: str, share: float) -> None:
    assert parse_limit(text) == pytest.approx(share, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "0.05",
        "%",
        "abc",
        "-3%",
        "+3%",
        "500%",
        "100.1%",
        "5%%",
        "5,5%",
        "1e1%",
        "nan%",
        "\u0665%",  # a digit of another script
    ],
)
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"^--fail-over .* is no percentage from 0% to 100%\. "
    ) as e:
        parse_limit(text)
    assert repr(text) in str(e.value)
    assert "--fail-over 5%" in str(e.value)
