"""Prompts in the syntax of the library compel (2.x), read as its parser reads them.

`word++` weighs 1.1² times as much, `word-` 0.9, `(two words)1.3` and `(two words).attend(1.3)` 1.3;
brackets and double quotes nest, and a backslash makes one a character. `("a", "b").blend(1, 0.5)`
mixes embeddings, `("a", "b").and()` puts them side by side. `.swap(…)` and `withLora(…)` are
refused by name, and so is text after `.blend(…)` or `.and(…)`, which compel refuses or leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtimes.prompts.fragments import Fragment, check_shares, check_weights, joined, refused

PLUS, MINUS = 1.1, 0.9
MAX_DEPTH = 50
"""Brackets within brackets."""

Flat = tuple[Fragment, ...]


@dataclass(frozen=True)
class Blend:
    """Prompts whose embeddings are mixed.

    Attributes:
        prompts: one or more.
        weights: of each.
        normalised: whether the weights are brought to a sum of 1.
    """

    prompts: tuple[Flat, ...]
    weights: tuple[float, ...]
    normalised: bool = True


@dataclass(frozen=True)
class Conjunction:
    """What a whole prompt is: parts whose embeddings lie side by side.

    Attributes:
        parts: one or more.
        weights: of each; how far it lies from the empty prompt.
    """

    parts: tuple[Flat | Blend, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class _Weighted:
    weight: float
    children: tuple[_Node, ...]


_Node = Fragment | _Weighted
_Found = tuple[tuple[_Node, ...], int]
"""What was read, and where it ends."""

_SPACE = r"[ \t\r\n]*"
_BLANK = r"\x20\t\r\n\x0b\x0c"
_SIGNS = r"()\",.+\-="
_WORD = re.compile(rf"(?:\\[{_SIGNS}]|[-+](?![{_BLANK}{_SIGNS}]|\Z)|[^{_BLANK}{_SIGNS}])+")
_FREE_WORD = re.compile(rf"[^{_BLANK}]+")
_QUOTED = re.compile(r'"((?:\\"|[^"\n\r])*)"')
_NUMBER = r"[+-]?(?:\d+\.\d*|\.\d+)|-?\d+"
# Atomic: "+" is taken for a sign of weight before it is taken for that of a number.
_OPERATOR = re.compile(rf"(?>\++|-+|{_NUMBER})")
_SIGNS_ALONE = re.compile(r"\++|-+")
_ATTEND = re.compile(rf"{_SPACE}\.attend{_SPACE}\({_SPACE}(?>\++|-+|{_NUMBER}){_SPACE}\)")
_METHOD = re.compile(rf"{_SPACE}\.(blend|and|add){_SPACE}\(([^()]*)\)")
_REFUSED = ((r"\.swap\s*\(", ".swap()"), (r"\b(use|with)Lora\s*\(", "withLora()"))


def parse(prompt: str) -> Conjunction:
    """Reads a prompt.

    Raises:
        UsageError: it has what is refused, weights that are no numbers or too many, or brackets
            that nest too deeply.
    """
    for pattern, name in _REFUSED:
        if re.search(pattern, prompt):
            raise refused(
                prompt, f"{name} is not supported by prompt_syntax 'compel'; take it out."
            )
    # As in the reference: a comma is followed by a space.
    reader = _Reader(re.sub(r",(\S)", r", \1", prompt).expandtabs(), prompt)
    found = reader.method()
    if found is None:
        found = Conjunction((_flat(reader.prompt(0)) or (Fragment(""),),), (1.0,))
    for flat in flats_of(found):
        check_weights(prompt, flat)
    return found


def flats_of(prompt: Conjunction) -> list[Flat]:
    """All prompts of a conjunction, those of its blends too."""
    return [
        flat
        for part in prompt.parts
        for flat in (part.prompts if isinstance(part, Blend) else (part,))
    ]


@dataclass(frozen=True)
class _Reader:
    """A parsing expression grammar by hand: what fails gives None, and another way is tried.

    Attributes:
        text: what is read.
        whole: the prompt, for errors.
        depth: brackets and quotes around the text.
    """

    text: str
    whole: str
    depth: int = 0

    def method(self) -> Conjunction | None:
        """`(…, …).blend(…)`, `.and(…)` or `.add(…)`; None where the text is none of these."""
        targets = self._targets(self._skip(0))
        match = _METHOD.match(self.text, targets[1]) if targets else None
        if targets is None or match is None:
            return None
        name, options = match.groups()
        if self._skip(match.end()) != len(self.text):
            rest = self.text[match.end() :].strip()
            raise refused(self.whole, f"nothing may follow .{name}(…), but {rest!r} does.")
        return self._combined(name, targets[0], options)

    def prompt(self, at: int) -> tuple[_Node, ...]:
        """Free text from a place to the end, with weights wherever it has them."""
        nodes: list[_Node] = []
        while (at := self._skip(at)) < len(self.text):
            found = self._element(at)
            if found is None or (self.text[at] not in '("' and isinstance(found[0][0], Fragment)):
                # A word without a weight goes as far as the next blank.
                match = _FREE_WORD.match(self.text, at)
                if match is None:  # a blank that doesn't separate words, such as a form feed
                    raise refused(self.whole, f"it holds {self.text[at]!r}; take it out.")
                found = (_fragment(match.group()),), match.end()
            nodes += found[0]
            at = found[1]
        return tuple(nodes)

    def _combined(
        self, name: str, targets: Sequence[tuple[_Node, ...]], options: str
    ) -> Conjunction:
        given = [option.strip() for option in options.split(",")] if options.strip() else []
        plain = name == "blend" and given[-1:] == ["no_normalize"]
        weights = tuple(self._number(name, text) for text in given[: len(given) - plain])
        weights = weights or (1.0,) * len(targets)
        if len(weights) != len(targets):
            raise refused(
                self.whole, f".{name}() has {len(weights)} weights for {len(targets)} prompts."
            )
        prompts = tuple(_flat(nodes) or (Fragment(""),) for nodes in targets)
        shares = weights
        if name == "blend" and not plain:
            if sum(weights) == 0:
                raise refused(self.whole, "the weights of .blend() add up to 0; give others.")
            shares = tuple(weight / sum(weights) for weight in weights)
        check_shares(self.whole, name, shares)
        if name != "blend":
            return Conjunction(prompts, weights)
        return Conjunction((Blend(prompts, weights, normalised=not plain),), (1.0,))

    def _number(self, name: str, text: str) -> float:
        if not re.fullmatch(_NUMBER, text):
            raise refused(self.whole, f"the weight {text!r} of .{name}() is not a number.")
        return float(text)

    def _targets(self, at: int) -> tuple[list[tuple[_Node, ...]], int] | None:
        """`(target, …)`, each in quotes or brackets, or a word."""
        if not self._is(at, "("):
            return None
        found: list[tuple[_Node, ...]] = []
        at += 1
        while True:
            target = self._target(at) or self._quoted_prompt(at)
            if target is None:
                return None
            found.append(target[0])
            at = self._skip(target[1])
            if not self._is(at, ","):
                break
            at += 1
        return (found, at + 1) if self._is(at, ")") else None

    def _element(self, at: int) -> _Found | None:
        """A target with its weight, if it has one. Nothing is read twice: brackets may nest."""
        target = self._target(at)
        if target is None:
            return None
        nodes, end = target
        attend = _ATTEND.match(self.text, end)
        if attend is not None:
            inside = attend.group().partition("(")[2].removesuffix(")")
            return (_Weighted(_weight(inside.strip()), nodes),), attend.end()
        operators = _OPERATOR if self.text[self._skip(at)] in '("' else _SIGNS_ALONE
        operator = operators.match(self.text, end)
        if operator is None:
            return target
        return (_Weighted(_weight(operator.group()), nodes),), operator.end()

    def _target(self, at: int) -> _Found | None:
        found = self._enclosed(at)
        if found is not None:
            return found
        match = _WORD.match(self.text, self._skip(at))
        return None if match is None else ((_fragment(match.group()),), match.end())

    def _enclosed(self, at: int) -> _Found | None:
        """What stands in quotes or brackets."""
        at = self._skip(at)
        if self.depth >= MAX_DEPTH and (self._is(at, '"') or self._is(at, "(")):
            raise refused(self.whole, f"its brackets nest deeper than {MAX_DEPTH}.")
        if self._is(at, "("):
            return self._in_brackets(at)
        match = _QUOTED.match(self.text, at)
        if match is None:
            return None
        inside = self._unquoted(match)
        if not inside.text.strip():
            return (Fragment(""),), match.end()
        nodes, end = inside.fragments(0)
        return None if inside.text[end:].strip() else (nodes, match.end())

    def _in_brackets(self, at: int) -> _Found | None:
        inner = _Reader(self.text, self.whole, self.depth + 1)
        nodes, end = inner.fragments(at + 1)
        end = self._skip(end)
        return (nodes, end + 1) if self._is(end, ")") else None

    def fragments(self, at: int) -> _Found:
        """Words, brackets, quotes, commas and full stops, as far as they go."""
        nodes: list[_Node] = []
        while True:
            found = self._element(at) or self._stop(at)
            if found is None:
                return tuple(nodes), at
            nodes += found[0]
            at = found[1]

    def _stop(self, at: int) -> _Found | None:
        at = self._skip(at)
        if self._is(at, ",") or self._is(at, "."):
            return (Fragment(self.text[at]),), at + 1
        return None

    def _quoted_prompt(self, at: int) -> _Found | None:
        """A quoted target that is no sequence of fragments: free text."""
        match = _QUOTED.match(self.text, self._skip(at))
        return None if match is None else (self._unquoted(match).prompt(0), match.end())

    def _unquoted(self, match: re.Match[str]) -> _Reader:
        # Quotes within are escaped already: the pattern takes no others.
        return _Reader(match.group(1), self.whole, self.depth + 1)

    def _skip(self, at: int) -> int:
        while at < len(self.text) and self.text[at] in " \t\r\n":
            at += 1
        return at

    def _is(self, at: int, sign: str) -> bool:
        return self.text.startswith(sign, at)


def _fragment(text: str) -> Fragment:
    # Twice: the reference does it when a fragment is read, and when its weights are worked out.
    return Fragment(_unescaped(_unescaped(text)))


def _unescaped(text: str) -> str:
    return text.replace("\\(", "(").replace("\\)", ")").replace('\\"', '"')


def _weight(text: str) -> float:
    if not text.strip("+"):
        return PLUS ** len(text)
    return float(text) if text.strip("-") else MINUS ** len(text)


def _flat(nodes: Sequence[_Node], scale: float = 1.0) -> Flat:
    return tuple(joined(_leaves(nodes, scale), " "))


def _leaves(nodes: Sequence[_Node], scale: float) -> list[Fragment]:
    found: list[Fragment] = []
    for node in nodes:
        if isinstance(node, Fragment):
            found.append(Fragment(node.text, node.weight * scale))
        else:
            found += _leaves(node.children, scale * node.weight)
    return found
