"""How the verbs tell what they do."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with one line on what was just done or begins."""


def silent(line: str) -> None:
    """Tells nothing."""
    del line
