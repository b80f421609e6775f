"""How an engine's SDK is imported, and how what it says in an error is told in one line."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from types import ModuleType

from runtimes.errors import EngineError

_MOST_CHARACTERS = 300


def import_sdk(module: str, extra: str) -> ModuleType:
    """Imports an engine's SDK.

    Args:
        module: what is imported.
        extra: the extra of latedge that installs it.

    Raises:
        EngineError: it isn't installed (says how to), or is and can't be imported; or numbers are
            big-endian here.
    """
    if sys.byteorder != "little":
        raise EngineError(
            f"this machine stores numbers {sys.byteorder}-endian, but the engines take a bundle's "
            "weight files as they lie, little-endian. Run the bundle on a little-endian machine."
        )
    try:
        return import_module(module)
    except ModuleNotFoundError as e:
        if e.name != module:
            raise EngineError(f"{module} can't be imported: it needs {e.name}, not found.") from e
        install = f'pip install "latedge[{extra}]"'
        raise EngineError(f"{module} is not installed. Install it: {install}") from e
    except ImportError as e:
        raise EngineError(f"{module} is installed, but can't be imported: {first_line(e)}") from e


def first_line(error: BaseException) -> str:
    """The first line of an SDK's error that says something.

    ONNX Runtime puts a code and its name before the message; OpenVINO puts the chain of source
    lines that it came through.
    """
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(error).strip())
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and not _is_source_line(line)]
    found = (told or [line for line in lines if line] or [type(error).__name__])[0]
    return found if len(found) <= _MOST_CHARACTERS else found[: _MOST_CHARACTERS - 1] + "…"


def _is_source_line(line: str) -> bool:
    return re.match(r"Exception from |Check '.*' failed at |\[ [A-Z_]+ \]$", line) is not None
