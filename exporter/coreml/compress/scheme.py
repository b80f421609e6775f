"""How weights are compressed, by name: what `compile --compression` takes and what it needs.

| name | each weight is | from |
|---|---|---|
| `palette-8`, `-6`, `-4`, `-2`, `-1` | an index of so many bits into a table of halves | iOS 16 |
| `palette-3` | likewise | iOS 18 |
| `palette-4-g16` | an index into the table of its group of 16 output channels | iOS 18 |
| `int8` | a whole number times its output channel's scale | iOS 16 |
| `int4` | a whole number times the scale of its block of 32 input channels | iOS 18 |
| `mixed-4.5` | a `palette-…` of its layer's own bits, 4.5 on average | iOS 16 |
| `w8a8` | as `int8`, and what conv and linear read is rounded to 8 bits as well | iOS 17 |

The systems are those whose operators take such arrays: `constexpr_lut_to_dense` has tables of 2, 4,
16, 64 or 256 entries in iOS 16 and one of 8 since iOS 18, which also brought several tables a
weight and `constexpr_blockwise_shift_scale`; `quantize` and `dequantize` came with iOS 17.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import Enum

from exporter.coreml.targets import Deployment, check_target
from runtimes.errors import UsageError

PALETTE_BITS = (1, 2, 3, 4, 6, 8)
"""Widths of an index that Core ML has; it has none of 5 or 7 bits."""

MIXED_BITS = (1, 2, 4, 6, 8)
"""Widths that a mixed scheme chooses from: those of iOS 16, so that every target takes the mix."""

MIXED_RANGE = (1.0, 16.0)
"""Between one bit a weight and halves as they are, both excluded."""

_FIRST = check_target("iOS16")
_SINCE_GROUPS = _SINCE_BLOCKS = _SINCE_THREE_BITS = check_target("iOS18")
_SINCE_ACTIVATIONS = check_target("iOS17")

_PALETTE = re.compile(r"palette-(\d)(?:-g([1-9]\d{0,4}))?")
_MIXED = re.compile(r"mixed-(\d{1,2}(?:\.\d{1,3})?)")
_SHOWN = (
    *(f"palette-{bits}" for bits in reversed(PALETTE_BITS)),
    "palette-N-gM (a table for each M output channels)",
    "int8",
    "int4",
    "mixed-B (B bits a weight on average, such as mixed-4.5)",
    "w8a8",
)


class Kind(Enum):
    """What a compressed weight consists of."""

    PALETTE = "palette"
    LINEAR = "linear"
    MIXED = "mixed"


@dataclass(frozen=True)
class Scheme:
    """A way to compress weights.

    Attributes:
        kind: of what a weight consists.
        bits: of an index or whole number; of a mixed scheme, the average that is not exceeded.
        group: output channels that share a table; None for one table a weight.
        block: input channels that share a scale; None for one scale per output channel.
        activations: whether what conv and linear read is rounded to 8 bits as well.
    """

    kind: Kind
    bits: float
    group: int | None = None
    block: int | None = None
    activations: bool = False

    @property
    def name(self) -> str:
        """As the command line, the manifest and `quantization.json` have it."""
        if self.activations:
            return "w8a8"
        if self.kind is Kind.LINEAR:
            return f"int{self.bits:g}"
        group = "" if self.group is None else f"-g{self.group}"
        return f"{self.kind.value}-{self.bits:g}{group}"

    @property
    def since(self) -> Deployment:
        """The first systems that have what it needs."""
        needs = {
            _FIRST: True,
            _SINCE_GROUPS: self.group is not None or self.block is not None,
            _SINCE_ACTIVATIONS: self.activations,
        }
        if self.kind is Kind.PALETTE and self.bits == 3:
            needs[_SINCE_THREE_BITS] = True
        return max(deployment for deployment, needed in needs.items() if needed)


_LINEAR = {
    "int8": Scheme(Kind.LINEAR, 8),
    "int4": Scheme(Kind.LINEAR, 4, block=32),
    "w8a8": Scheme(Kind.LINEAR, 8, activations=True),
}


def parse_scheme(name: str) -> Scheme:
    """The scheme of a name.

    Raises:
        UsageError: there is no such scheme; lists those that there are.
    """
    if name in _LINEAR:
        return _LINEAR[name]
    if found := _PALETTE.fullmatch(name):
        bits, group = int(found[1]), found[2]
        if bits in PALETTE_BITS:
            return Scheme(Kind.PALETTE, bits, group=None if group is None else int(group))
    elif found := _MIXED.fullmatch(name):
        low, high = MIXED_RANGE
        if low < (average := float(found[1])) < high:
            return Scheme(Kind.MIXED, average)
        raise UsageError(
            f"{name}: bits a weight on average lie between {low:g} and {high:g}, both excluded; "
            "give such a number, as in mixed-4.5."
        )
    close = difflib.get_close_matches(name, _SHOWN, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UsageError(f"unknown compression {name!r}; known are {', '.join(_SHOWN)}.{hint}")


def plain(scheme: Scheme) -> Scheme:
    """A scheme that asks for no measurements: what goes with another in a bundle's other networks.

    A mixed scheme becomes the palette of the least width that isn't below its average, W8A8 int8.
    """
    if scheme.activations:
        return _LINEAR["int8"]
    if scheme.kind is Kind.MIXED:
        return palette(min(bits for bits in MIXED_BITS if bits >= min(scheme.bits, 8)))
    return scheme


def palette(bits: int) -> Scheme:
    """The scheme of one table a weight with indices of so many bits."""
    assert bits in PALETTE_BITS, bits
    return Scheme(Kind.PALETTE, bits)


def check_scheme(scheme: Scheme, deployment: Deployment) -> None:
    """Refuses a scheme that a deployment target is too old for.

    Raises:
        UsageError: the target is too old; says since when there is such a scheme.
    """
    deployment.require(scheme.since.ios, f"weights as {scheme.name}")
