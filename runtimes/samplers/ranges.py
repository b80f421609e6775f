"""The ranges of samplers' options, refused by name where a config or a call leaves them.

NaN is in none of them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from runtimes.schedules.given import MAX_SIGMA

NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Factor = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Sigma = Annotated[float, msgspec.Meta(gt=0, le=MAX_SIGMA)]
HalfLogSnr = Annotated[float, msgspec.Meta(le=100)]
Offset = Annotated[int, msgspec.Meta(ge=0)]
