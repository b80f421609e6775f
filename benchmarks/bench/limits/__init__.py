"""What a machine could do at best: FLOPs and bytes counted from a bundle's graphs, and rooflines.

`README.md` beside this file says what is counted and how.
"""

from __future__ import annotations

from benchmarks.bench.limits.costliest import costliest
from benchmarks.bench.limits.count import Count, count
from benchmarks.bench.limits.feeds import Calls, picture_calls
from benchmarks.bench.limits.graph import CountError
from benchmarks.bench.limits.roofline import limits

__all__ = ["Calls", "Count", "CountError", "costliest", "count", "limits", "picture_calls"]
