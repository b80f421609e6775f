"""Writes `runtimes/unicode_tables.py`: what the tokenizers library knows of each code point.

The library is asked, code point by code point, so the tables hold its Unicode versions, which
differ between its parts and from Python's own: its letter, number and whitespace classes (its
regular expressions), its lowercase, and which code points its canonical composition leaves alone.

Run it under Python 3.11 (Unicode 14) with the tokenizers version to follow:

    python scripts/make_unicode_tables.py
"""

from __future__ import annotations

import json
import sys
import textwrap
import unicodedata
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers

TABLES = Path(__file__).resolve().parents[1] / "runtimes" / "unicode_tables.py"
# Surrogates are no characters of their own and never reach the tokenizer.
CODE_POINTS = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF]
BASE = "0123456789abcdefghijklmnopqrstuvwxyz"

nfc = normalizers.NFC().normalize_str
nfd = normalizers.NFD().normalize_str
lower = normalizers.Lowercase().normalize_str


def matching(pattern: str) -> list[int]:
    """The code points that the library's regular expressions match with `pattern`."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return [c for c in CODE_POINTS if split.pre_tokenize_str(chr(c))]


def probe_marks() -> str:
    """One mark of each combining class that library and Python share, classes ascending."""
    marks: dict[int, str] = {}
    for mark in map(chr, CODE_POINTS):
        combining_class = unicodedata.combining(mark)
        # A mark the library knows moves in front of one of another class.
        low, high = "\u0334", "\u0345"  # classes 1 and 240, the lowest and the highest
        known = nfd(f"q{high}{mark}") != f"q{high}{mark}" or nfd(f"q{mark}{low}") != f"q{mark}{low}"
        if (
            combining_class
            and not unicodedata.decomposition(mark)
            and (known or mark in low + high)
        ):
            marks.setdefault(combining_class, mark)
    return "".join(marks[combining_class] for combining_class in sorted(marks))


def canonical_pairs() -> Iterator[tuple[int, list[int]]]:
    """Each code point that Python decomposes canonically, with what it becomes in one step."""
    for c in CODE_POINTS:
        mapping = unicodedata.decomposition(chr(c))
        if mapping and not mapping.startswith("<"):
            yield c, [int(part, 16) for part in mapping.split()]


def uncomposed() -> list[int]:
    """Code points that the library's NFC leaves alone, though Python's may not.

    Its database is older than Unicode 14: to it these are starters that neither decompose nor
    compose, so text may be normalised piece by piece between them. Code points that Unicode 14
    lacks are all of that kind, whatever a later Python knows of them.
    """
    if unicodedata.unidata_version != "14.0.0":
        raise SystemExit(f"needs Unicode 14 (Python 3.11), not {unicodedata.unidata_version}")
    marks = probe_marks()
    found = {c for c in CODE_POINTS if unicodedata.category(chr(c)) == "Cn"}
    for c in CODE_POINTS:
        text = f"q{marks}{chr(c)}{marks}"
        if nfd(text) != unicodedata.normalize("NFD", text):
            found.add(c)
    for composite, parts in canonical_pairs():
        text = "".join(map(chr, parts))
        if nfc(text) != unicodedata.normalize("NFC", text):
            found.update([composite, *parts])
    for c in found:
        text = f"q{marks}{chr(c)}{marks}"
        if nfc(text) != text:
            raise SystemExit(
                f"U+{c:04X} is treated otherwise than in Unicode 14, and not left alone"
            )
    return sorted(found)


def boundaries(members: Iterable[int]) -> list[int]:
    """The ranges of ascending `members`: first code point in, first out, first in, and so on."""
    edges: list[int] = []
    for c in members:
        if edges and edges[-1] == c:
            edges[-1] = c + 1
        else:
            edges += [c, c + 1]
    return edges


def base36(number: int) -> str:
    """`number` as `int(…, 36)` reads it."""
    if number < 0:
        return "-" + base36(-number)
    return (base36(number // 36) if number >= 36 else "") + BASE[number % 36]


def differences(members: Iterable[int]) -> list[str]:
    """The edges of the ranges of `members`, each less the one before it, in base 36."""
    edges = boundaries(members)
    return [base36(edge - before) for before, edge in zip([0, *edges], edges, strict=False)]


def lowercase_runs(mapping: dict[int, int]) -> list[str]:
    """Runs of code points with equal step and equal shift: `start.count.step.shift`."""
    runs: list[list[int]] = []
    for c, target in sorted(mapping.items()):
        start, count, step, shift = runs[-1] if runs else (0, 0, 0, 0)
        if shift == target - c and count == 1 and c - start <= 2:
            runs[-1] = [start, 2, c - start, shift]
        elif shift == target - c and count > 1 and c == start + count * step:
            runs[-1][1] += 1
        else:
            runs.append([c, 1, 1, target - c])
    return [".".join(map(base36, run)) for run in runs]


def constant(name: str, comment: str, words: list[str]) -> str:
    """`name` as a string constant over several lines."""
    lines = [f'"{line}' for line in textwrap.wrap(" ".join(words), 90, break_on_hyphens=False)]
    value = f'{lines[0]}"'
    if len(lines) > 1:
        value = "(\n    " + ' "\n    '.join(lines) + '"\n)'
    return "\n".join(f"# {line}" for line in textwrap.wrap(comment, 96)) + f"\n{name} = {value}\n"


HEADER = """\
\"\"\"What the tokenizers library ({version}) knows of each code point, as small tables.

Written by `scripts/make_unicode_tables.py`; read by `tokenizer_text.py`. Python's own database is
not asked: it is another Unicode version, and a new one with each Python.
\"\"\"
"""
EDGES = "The edges of its ranges (in, out, in, out, ...), each less the one before it, in base 36."
UNCOMPOSED_COMMENT = (
    "Code points to which NFC does nothing, although some Unicode version gives them a combining"
    f" class, a decomposition or a composition. {EDGES}"
)
LOWERCASE_COMMENT = (
    "Runs of capitals, each `start.count.step.shift` in base 36: the small letter of"
    " start + i * step lies `shift` further."
)


def main() -> None:
    """Asks the library and writes the tables."""
    lowered = {c: lower(chr(c)) for c in CODE_POINTS if lower(chr(c)) != chr(c)}
    single = {c: ord(text) for c, text in lowered.items() if len(text) == 1}
    several = {chr(c): text for c, text in lowered.items() if len(text) > 1}
    sections = [
        HEADER.format(version=version("tokenizers")),
        constant("LETTERS", rf"\p{{L}}. {EDGES}", differences(matching(r"\p{L}"))),
        constant("NUMBERS", rf"\p{{N}}. {EDGES}", differences(matching(r"\p{N}"))),
        constant("UNCOMPOSED", UNCOMPOSED_COMMENT, differences(uncomposed())),
        constant("LOWERCASE", LOWERCASE_COMMENT, lowercase_runs(single)),
        constant("WHITESPACE", rf"\s. {EDGES}", differences(matching(r"\s"))),
        "# Capitals whose small form is more than one code point.\n"
        f"LOWERCASE_LONG = {json.dumps(several)}\n",
    ]
    TABLES.write_text("\n".join(sections), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
