"""Errors a user can cause. Each is one clear line: what is wrong, what was given, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LatedgeError(Exception):
    """The work could not be done. The command line prints the message and exits with 1."""

    exit_code = 1


class UsageError(LatedgeError, ValueError):
    """What was asked is wrong in itself. The command line prints the message and exits with 2."""

    exit_code = 2


class BundleError(LatedgeError):
    """A bundle is missing, incomplete, altered or of a schema that this version can't read."""


class EngineError(LatedgeError):
    """An engine, or one of its devices, is absent or failed."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UsageError:
    """An error for a name that isn't in a table: lists the known ones and the closest.

    Args:
        kind: what the name stands for, such as "sampler".
        given: the name that was asked for.
        known: the names that exist.
    """
    names = sorted(known)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UsageError(f"unknown {kind} {given!r}; known are {', '.join(names)}.{hint}")
