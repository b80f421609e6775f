"""Which paths a bundle may hold: those that stay inside it and that every file system can hold.

A bundle is made on one machine and copied to others: a name that Windows reserves, or two that
differ in case alone, would be lost or swapped there without a word.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

_FORBIDDEN = frozenset('<>:"|?*\\') | {chr(code) for code in range(32)}
_PORTS = [f"{kind}{digit}" for kind in ("com", "lpt") for digit in "0123456789¹²³"]
_DEVICES = frozenset({"con", "prn", "aux", "nul", "conin$", "conout$", *_PORTS})
"""Names of devices on Windows, with any extension: `open("aux.json")` opens a port there."""

_MOST_BYTES = 255
"""Of one name, on the usual file systems of Linux."""


def is_inside(path: str) -> bool:
    """Whether a relative path in POSIX form stays inside its folder, on every system."""
    parts = PurePosixPath(path).parts
    plain = not path.startswith("/") and "\\" not in path and ":" not in path and "\0" not in path
    return bool(parts) and plain and ".." not in parts


def unportable(path: str) -> str | None:
    """What keeps a path in POSIX form from being held by every system, or None.

    Names and rules of Windows: "Naming Files, Paths, and Namespaces" of its documentation.
    """
    for name in PurePosixPath(path).parts:
        if found := sorted(_FORBIDDEN & set(name)):
            return f"{name!r} holds {found[0]!r}, which Windows forbids"
        if name.endswith((".", " ")):
            return f"{name!r} ends in a dot or a space, which Windows drops"
        if name.partition(".")[0].rstrip(" ").lower() in _DEVICES:
            return f"{name!r} is the name of a device on Windows"
        if len(name.encode()) > _MOST_BYTES:
            return f"{name[:20]!r}… has more than {_MOST_BYTES} bytes"
    return None


def collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Two paths that are one where case or the form of accents doesn't count, or None.

    Windows and macOS fold case by default; macOS takes "é" in one or in two code points alike. A
    file and a folder of such names collide, too.
    """
    seen: dict[str, str] = {}
    for path in sorted(paths):
        parts = PurePosixPath(path).parts
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            known = seen.setdefault(_folded(place), place)
            if known != place:
                return known, place
    return None


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
