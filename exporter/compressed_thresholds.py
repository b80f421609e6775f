"""What is asked of components and pictures whose weights are compressed.

A weight keeps some 6 dB a bit, and a deep network less of it: the thresholds of `exporter.report`
and `exporter.verify_image`, which are for rounding to half precision, can't be reached.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from runtimes.errors import BundleError

COMPONENTS_DB: Mapping[int, float] = {8: 40.0, 6: 28.0, 4: 15.0, 3: 10.0, 2: 6.0, 1: 2.0}
"""PSNR that a component must reach, by the bits of a weight.

10 dB below the worst that a text encoder or U-Net reached of the trained shapes model and of a
small synthetic SD 1.5, with a palette or scaled whole numbers: 50 at 8 bits, 39 at 6, 25 at 4, 21
at 3, 16 at 2, 12 at 1. At 3 bits and fewer the figure alone can't tell a faithful package from a
wrong one (zeros in place of predicted noise reach 12 dB): it is to be read, and pictures to be
looked at.
"""

PICTURES_DB: Mapping[int, float] = {8: 35.0, 6: 15.0, 4: 10.0, 3: 5.0, 2: 0.0, 1: 0.0}
"""The same of a whole picture and its latents.

Each step's error moves the next step's input, and two trajectories part. Of the shapes model the
worse of the two reaches 47 dB at 8 bits, 23 at 6, 18 at 4 and 6 at 2.
"""

_ACTIVATIONS = "w8a8"
_ACTIVATIONS_LIKE = 6
"""Bits of a weight that cost as much as rounding what is computed with it to 8 bits too."""


def asked_db(thresholds_db: Mapping[int, float], compression: str) -> float:
    """What a table asks of a scheme.

    Args:
        thresholds_db: by the bits of a weight.
        compression: such as "palette-6", "palette-4-g16", "int8", "mixed-4.5" or "w8a8". The
            average of a mixed one is rounded down to a width that there is.

    Raises:
        BundleError: the name tells no bits.
    """
    told = re.match(r"(?:palette-|mixed-|int)(\d+)", compression)
    bits = _ACTIVATIONS_LIKE if compression == _ACTIVATIONS else int(told[1]) if told else 0
    widths = [width for width in thresholds_db if width <= bits]
    if not widths:
        raise BundleError(
            f"weights are compressed as {compression!r}, of which this version of latedge doesn't "
            "know what to ask. Upgrade."
        )
    return thresholds_db[max(widths)]
