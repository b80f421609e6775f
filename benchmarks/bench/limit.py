"""`--fail-over`: how much worse a figure may be before a comparison fails."""

from __future__ import annotations

import re

from runtimes.errors import UsageError

LARGEST_PERCENT = 100
"""Twice as slow. Who writes more has left out a point or means a factor."""

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")


def parse_limit(text: str) -> float:
    """Reads a share in percent, such as "5%" or "2.5 %".

    The sign of percent is asked for: "5" might be a factor and "0.05" either. 0% is allowed: then
    every figure that is worse beyond the noise fails.

    Returns:
        The share: 0.05 for "5%".

    Raises:
        UsageError: it is no percentage from 0 to 100.
    """
    found = _PERCENT.fullmatch(text.strip())
    percent = float(found[1]) if found else -1.0
    if not 0 <= percent <= LARGEST_PERCENT:
        raise UsageError(
            f"--fail-over {text!r} is no percentage from 0% to {LARGEST_PERCENT}%. Write it as in "
            "--fail-over 5%."
        )
    return percent / 100
