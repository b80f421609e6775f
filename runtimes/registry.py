"""Names that stand for code: literal tables of `name → "module:attribute"`, imported on use."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from runtimes.errors import unknown_name


def names(table: Mapping[str, str], group: str) -> tuple[str, ...]:
    """The names of a table and of the entry points that third parties add to its group."""
    return tuple(sorted({*table, *(point.name for point in entry_points(group=group))}))


def load(kind: str, name: str, table: Mapping[str, str], group: str) -> object:
    """Imports what a name stands for.

    Args:
        kind: what the names are, for the error: "engine", "target", …
        name: the name to look up.
        table: the project's own names.
        group: entry-point group in which third parties register theirs.

    Raises:
        UsageError: the name is unknown; lists the known ones and the closest.
    """
    if name in table:
        module, _, attribute = table[name].partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=group, name=name):
        return point.load()
    raise unknown_name(kind, name, names(table, group))
