"""Which weights of a component are compressed, and how each is: what its lowering asks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.coreml.compress.scheme import Kind, Scheme
from exporter.errors import CompileError

SMALLEST = 2048
"""A weight of so many elements or fewer stays as it is.

It is coremltools' own limit. A table of 256 halves takes 512 bytes, of the 4 KiB that such a weight
has at most; and there is nothing to gain: the U-Net of Stable Diffusion 1.5 has none that small,
and 99.95 % of its parameters are compressed.
"""

_KEPT = re.compile(
    r"(^|\.)(conv_in|conv_out)\.weight$"  # where a picture or latents enter and leave
    r"|_embedding\.weight$"  # tables whose rows are looked up: nothing is multiplied by them
)
"""Weights that stay in halves whatever their size.

On the shapes model's U-Net the two convolutions, 0.1 % of its weights, cost 5 dB at 8 bits and 10
at 4 where they are compressed as well. What embeds the time costs 0.0 and 0.6 dB, so it is.
"""


@dataclass(frozen=True)
class Compression:
    """How a component's weights are compressed.

    Attributes:
        scheme: of all of them.
        recipe: key → scheme of its own, None for one that stays as it is; of mixed schemes alone,
            which have one for every weight that `is_compressible`.
    """

    scheme: Scheme
    recipe: Mapping[str, Scheme | None] = field(default_factory=dict[str, Scheme | None])

    def scheme_of(self, key: str, shape: tuple[int, ...]) -> Scheme | None:
        """How a weight is compressed; None where it stays as it is.

        Args:
            key: its Diffusers key.
            shape: as its file has it, or that of the 1×1 convolution in the place of a linear.

        Raises:
            CompileError: a mixed scheme's recipe doesn't know the weight.
        """
        if not is_compressible(key, shape):
            return None
        if self.scheme.kind is not Kind.MIXED:
            return self.scheme
        if key not in self.recipe:
            raise CompileError(
                f"the recipe of {self.scheme.name} has nothing on {key}; it is of another model. "
                "Measure it anew."
            )
        return self.recipe[key]


def is_compressible(key: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight is one of those that compression means.

    It is that of a convolution or a linear layer and has more than `SMALLEST` elements; inputs' and
    outputs' convolutions and tables of embeddings are left out.

    Args:
        key: its Diffusers key.
        shape: its sizes.
    """
    multiplied = key.endswith(".weight") and len(shape) in (2, 4)
    return multiplied and math.prod(shape) > SMALLEST and not _KEPT.search(key)
