"""The command line that the workers share, and what they tell of their environment."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import PackageNotFoundError, version


def parse(*, library: tuple[str, ...] = ()) -> argparse.Namespace:
    """Reads `MODEL --threads N [--precision P]`, and which library where there is a choice."""
    parser = argparse.ArgumentParser()
    if library:
        parser.add_argument("library", choices=library)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--precision", default="fp32", help="of the weights as stored")
    parser.add_argument("--compile", action="store_true")
    return parser.parse_args(sys.argv[1:])


def versions(*packages: str) -> dict[str, str]:
    """Package → version, of those that are installed."""
    found: dict[str, str] = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def engine_of(packages: dict[str, str]) -> str:
    """The first two packages with their versions: what draws, and on what."""
    first = list(packages.items())[:2]
    return ", ".join(f"{name} {number.partition('+')[0]}" for name, number in first)
