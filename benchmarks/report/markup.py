"""HTML from plain strings. What is not `Html` is text, and is escaped.

Names, prompts and errors in a result are whatever their makers wrote: nothing in them may become
markup.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable

VOID = frozenset({"col", "img", "link", "meta"})
"""Elements without an end tag."""

LONG_TEXT = 160
"""Characters from which a text gets a box of its own that scrolls."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# HTML forbids them even as references; tab and line ends are white space.
_FORBIDDEN = dict.fromkeys({*range(32), *range(0x7F, 0xA0)} - {9, 10}, _REPLACEMENT)


class Html(str):
    """Markup, whose texts are escaped already."""

    __slots__ = ()


def clean(text: str) -> str:
    """A text without the characters that HTML forbids; each leaves a mark."""
    return text.translate(_FORBIDDEN)


def escape(text: str) -> Html:
    """A text as markup that shows it, in an element or in a quoted attribute."""
    return text if isinstance(text, Html) else Html(html.escape(clean(text), quote=True))


def join(parts: Iterable[str]) -> Html:
    """Markup and texts in a row."""
    return Html("".join(escape(part) for part in parts))


def element(name: str, /, *children: str, **attributes: str | bool | float | None) -> Html:
    """An element.

    Args:
        name: of the element.
        children: markup (`Html`) or texts.
        attributes: by name; `class_` is class, and `aria_label` is aria-label. False and None leave
            one out, True gives it no value.
    """
    told = "".join(
        _attribute(key, value)
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID:
        return Html(f"<{name}{told}>")
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def _attribute(key: str, value: str | bool | float) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def short(value: str, limit: int) -> str:
    """A text in one line, cut; not yet escaped."""
    line = " ".join(clean(value).split()) or "(no name)"
    return line if len(line) <= limit else line[: limit - 1] + "…"


def text(value: str) -> Html:
    """A text from a result: its own direction of writing, and a box that scrolls if it is long."""
    if len(value) <= LONG_TEXT:
        return element("bdi", value)
    return element("bdi", value, class_="long", tabindex=0)


def json_script(value: object) -> Html:
    """Data for the page's script, as JSON that no text in it can leave.

    Raises:
        OverflowError: a figure is infinite or no number, which JSON lacks.
    """
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as e:
        raise OverflowError("a plotted figure is out of range") from e
    for character in "<>&\u2028\u2029":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json">{clean(encoded)}</script>')
