"""Prompts in the syntax of AUTOMATIC1111's Stable Diffusion web UI.

`(text)` weighs 1.1 times as much, `[text]` 1/1.1, `(text:1.3)` 1.3; brackets nest, and a backslash
makes one a character. `BREAK` ends a chunk. As there, a bracket that isn't closed reaches to the
end, and one that wasn't opened is a character. Two things differ: `BREAK` ends a chunk within
brackets too, where the web UI takes it for a word of negative weight; and what it has beyond
weights (prompt editing, alternatives, `AND`, networks in angle brackets) is refused by name rather
than read as text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from runtimes.prompts.fragments import Fragment, check_weights, joined, refused

ROUND, SQUARE = 1.1, 1 / 1.1

_PART = re.compile(r"\\[()\[\]\\]?|[()\[]|:\s*(?P<weight>[+-]?[.\d]+)\s*\)|\]|[^\\()\[\]:]+|:")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_BEYOND_WEIGHTS = (
    (r"\[[^\[\]]*:\s*\d*\.?\d+\s*\]", "prompt editing, [from:to:when]"),
    (r"\[[^\[\]]*\|[^\[\]]*\]", "alternatives, [a|b]"),
    (r"\bAND\b", "composition with AND"),
    (r"<[a-z]+:[^<>]+>", "networks named in the prompt, <lora:name:1>"),
)


@dataclass
class _Open:
    """A text so far, and where its open brackets began.

    Attributes:
        texts: of the parts; None stands for BREAK.
        weights: of each part.
        round: the part at which each open round bracket began.
        square: likewise of square ones.
    """

    texts: list[str | None] = field(default_factory=list[str | None])
    weights: list[float] = field(default_factory=list[float])
    round: list[int] = field(default_factory=list[int])
    square: list[int] = field(default_factory=list[int])

    def weigh(self, start: int, factor: float) -> None:
        """Multiplies the weights from a place on."""
        self.weights[start:] = [weight * factor for weight in self.weights[start:]]

    def add(self, text: str | None) -> None:
        """Adds a text, or BREAK."""
        self.texts.append(text)
        self.weights.append(1.0)

    def text(self, text: str) -> None:
        """Adds text that may hold BREAKs."""
        for index, part in enumerate(_BREAK.split(text)):
            if index:
                self.add(None)
            self.add(part)


def parse(prompt: str) -> list[list[Fragment]]:
    """The fragments of a prompt, one list for each text between BREAKs.

    Raises:
        UsageError: a weight is no number, or the prompt uses more than weights.
    """
    _check(prompt)
    found = _Open()
    for match in _PART.finditer(prompt):
        _take(found, match, prompt)
    for start in found.round:
        found.weigh(start, ROUND)
    for start in found.square:
        found.weigh(start, SQUARE)
    sections: list[list[Fragment]] = [[]]
    for text, weight in zip(found.texts, found.weights, strict=True):
        if text is None:
            sections.append([])
        else:
            sections[-1].append(Fragment(text, weight))
    for section in sections:
        check_weights(prompt, section)
    return [joined(section, "") for section in sections]


def _take(found: _Open, match: re.Match[str], prompt: str) -> None:
    part, weight = match.group(), match.group("weight")
    if part.startswith("\\"):
        # One before anything else is left out, as in the reference.
        found.add(part[1:])
    elif part == "(":
        found.round.append(len(found.texts))
    elif part == "[":
        found.square.append(len(found.texts))
    elif weight is not None and found.round:
        found.weigh(found.round.pop(), _number(weight, prompt))
    elif part == ")" and found.round:
        found.weigh(found.round.pop(), ROUND)
    elif part == "]" and found.square:
        found.weigh(found.square.pop(), SQUARE)
    else:
        found.text(part)


def _number(text: str, prompt: str) -> float:
    try:
        return float(text)
    except ValueError as e:
        raise refused(prompt, f"the weight {text!r} is not a number; write (text:1.3).") from e


def _check(prompt: str) -> None:
    plain = re.sub(r"\\[()\[\]\\]", "", prompt)
    for pattern, name in _BEYOND_WEIGHTS:
        if re.search(pattern, plain):
            raise refused(
                prompt,
                f"{name}, is not supported by prompt_syntax 'a1111'; weights and BREAK are. Put a "
                "backslash before a bracket that is meant as a character.",
            )
