"""Parts of a prompt that share a weight, and what is wrong with a prompt's syntax."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runtimes.errors import UsageError

MAX_WEIGHT = 1000.0
"""Some three is the most that makes pictures; what brackets multiply up to is bounded by this."""

_LONGEST_QUOTE = 200


@dataclass(frozen=True)
class Fragment:
    """A text and its weight."""

    text: str
    weight: float = 1.0


def check_weights(prompt: str, fragments: Iterable[Fragment]) -> None:
    """Refuses weights that no embeddings stand.

    Raises:
        UsageError: names the weight.
    """
    for fragment in fragments:
        if not abs(fragment.weight) <= MAX_WEIGHT:
            raise refused(
                prompt,
                f"{quoted(fragment.text)} has the weight {fragment.weight:g}; at most "
                f"{MAX_WEIGHT:g}.",
            )


def check_shares(prompt: str, method: str, shares: Iterable[float]) -> None:
    """Refuses weights of whole prompts that no embeddings stand.

    Raises:
        UsageError: names the weight.
    """
    for share in shares:
        if not abs(share) <= MAX_WEIGHT:
            raise refused(
                prompt, f"a prompt of .{method}() has the weight {share:g}; at most {MAX_WEIGHT:g}."
            )


def joined(fragments: Iterable[Fragment], between: str) -> list[Fragment]:
    """Neighbours of one weight as one fragment, with a text between them."""
    found: list[Fragment] = []
    for fragment in fragments:
        if found and found[-1].weight == fragment.weight:
            text = found[-1].text + between + fragment.text
            found[-1] = Fragment(text, fragment.weight)
        else:
            found.append(fragment)
    return found


def quoted(text: str) -> str:
    """A text as errors and warnings quote it: its beginning where it is long."""
    if len(text) <= _LONGEST_QUOTE:
        return repr(text)
    return f"{text[:_LONGEST_QUOTE] + '…'!r} ({len(text)} characters in all)"


def refused(prompt: str, reason: str) -> UsageError:
    """An error for a prompt whose syntax can't be followed."""
    return UsageError(f"prompt {quoted(prompt)}: {reason}")
