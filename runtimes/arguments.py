"""Arguments of the command line that hold more than one value."""

from __future__ import annotations

from collections.abc import Sequence

from runtimes.errors import UsageError


def number_list(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Numbers with commas between them; None for None.

    Args:
        flag: the argument, for messages.
        text: such as "14.6,3.9,0".

    Raises:
        UsageError: one of them is no number.
    """
    return None if text is None else tuple(_number(flag, part) for part in text.split(","))


def pixel_pair(flag: str, text: str | None) -> tuple[int, int] | None:
    """Two whole numbers of pixels with a comma between them; None for None.

    Args:
        flag: the argument, for messages.
        text: such as "1024,768".

    Raises:
        UsageError: not two whole numbers.
    """
    if text is None:
        return None
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError as e:
        raise UsageError(
            f"{flag} is {text!r}; give two whole numbers of pixels, such as 1024,768"
        ) from e
    return first, second


def _number(flag: str, part: str) -> float:
    try:
        return float(part)
    except ValueError as e:
        raise UsageError(
            f"{flag} holds {part!r}, which is no number; give numbers with commas between them, "
            "such as 14.6,3.9,0"
        ) from e


def named_values(flag: str, texts: Sequence[str]) -> dict[str, bool | int | float | str]:
    """Values by name.

    Args:
        flag: the argument, for messages.
        texts: such as "eta=0.5"; true and false are truth values, numbers are numbers, the rest is
            text.

    Raises:
        UsageError: one is no name and value, or a name comes twice.
    """
    found: dict[str, bool | int | float | str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{flag} is {text!r}; give a name and its value, such as eta=0.5")
        if name in found:
            raise UsageError(f"{flag} gives {name!r} twice")
        found[name] = _value(value)
    return found


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
