"""AUTOMATIC1111's reading of a prompt, as published, written apart from the project's own.

A character at a time with a stack, where the web UI takes a regular expression and lists of places.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

Weighted = list[tuple[str, float]]
BREAK = ("BREAK", -1.0)


def read(prompt: str) -> Weighted:
    """Texts and weights; `BREAK` where the prompt breaks outside brackets."""
    letters: list[list[Any]] = []  # a character (or None for BREAK) and its weight
    stack: list[tuple[str, int]] = []
    at = 0
    while at < len(prompt):
        rest = prompt[at:]
        if rest[0] == "\\":
            if rest[1:2] and rest[1] in "()[]\\":
                letters.append([rest[1], 1.0])
                at += 1
            at += 1
            continue
        number = re.match(r":\s*([+-]?[.\d]+)\s*\)", rest)
        opened = [kind for kind, _ in stack]
        if rest[0] in "([":
            stack.append((rest[0], len(letters)))
        elif number and "(" in opened:
            _multiply(letters, stack, "(", float(number.group(1)))
            at += number.end() - 1
        elif rest[0] == ")" and "(" in opened:
            _multiply(letters, stack, "(", 1.1)
        elif rest[0] == "]" and "[" in opened:
            _multiply(letters, stack, "[", 1 / 1.1)
        else:
            letters.append([rest[0], 1.0])
        at += 1
    for kind in "([":
        while kind in [opened for opened, _ in stack]:
            _multiply(letters, stack, kind, 1.1 if kind == "(" else 1 / 1.1)
    found: Weighted = []
    for letter, weight in letters:
        if found and found[-1][1] == weight:
            found[-1] = (found[-1][0] + letter, weight)
        else:
            found.append((letter, weight))
    return found or [("", 1.0)]


def _multiply(letters: list[list[Any]], stack: list[tuple[str, int]], kind: str, by: float) -> None:
    place = max(i for i, (opened, _) in enumerate(stack) if opened == kind)
    for letter in letters[stack.pop(place)[1] :]:
        letter[1] *= by


def chunks(
    sections: Sequence[Sequence[tuple[int, float]]], comma: int
) -> list[list[tuple[int, float]]]:
    """Tokens by 75, looking back up to 20 for a comma when a chunk is full."""
    found: list[list[tuple[int, float]]] = []
    for number, section in enumerate(sections):
        current: list[tuple[int, float]] = []
        last_comma = -1
        for token, weight in section:
            if token == comma:
                last_comma = len(current)
            elif len(current) == 75 and last_comma != -1 and 75 - last_comma <= 20:
                found.append(current[: last_comma + 1])
                current, last_comma = current[last_comma + 1 :], -1
            if len(current) == 75:
                found.append(current)
                current, last_comma = [], -1
            current.append((token, weight))
        if current or number < len(sections) - 1 or not found:
            found.append(current)
    return found


def embeddings(
    chunked: Sequence[Sequence[tuple[int, float]]], tokenizer: Any, encode: Callable[..., Any]
) -> torch.Tensor:
    """States times weights, the mean of each chunk as it was, chunks side by side."""
    found: list[torch.Tensor] = []
    for chunk in chunked:
        ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        weights = [1.0, *(weight for _, weight in chunk), 1.0]
        ids += [tokenizer.pad_token_id] * (77 - len(ids))
        weights += [1.0] * (77 - len(weights))
        with torch.no_grad():
            states = encode(torch.tensor([ids])).last_hidden_state
        weighted = states * torch.tensor(weights).reshape(1, 77, 1)
        found.append(weighted * (states.mean() / weighted.mean()))
    return torch.hstack(found)[0]
