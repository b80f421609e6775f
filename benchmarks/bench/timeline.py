"""A curve of few points that keeps every peak of many samples."""

from __future__ import annotations

from benchmarks.bench.results import MemoryPoint

MOST_POINTS = 600


class Timeline:
    """Samples of a run of unknown length, thinned while they come.

    Time is cut into equal spans, of each of which the largest sample stays, at its own time. When
    there are too many spans, they become twice as long.

    Args:
        span_ms: length of a span to begin with.
        most_points: that are kept.
    """

    def __init__(self, span_ms: float, most_points: int = MOST_POINTS) -> None:
        self.span_ms = span_ms
        self._most_points = most_points
        self._points: list[MemoryPoint] = []

    def add(self, time_ms: float, rss_bytes: int) -> None:
        """Takes a sample; times never fall."""
        self._merge(self._points, MemoryPoint(time_ms, rss_bytes))
        while len(self._points) > self._most_points:
            self.span_ms *= 2
            fewer: list[MemoryPoint] = []
            for point in self._points:
                self._merge(fewer, point)
            self._points = fewer

    def points(self) -> tuple[MemoryPoint, ...]:
        """Those that were kept, at most `most_points`."""
        return tuple(self._points)

    def _merge(self, points: list[MemoryPoint], point: MemoryPoint) -> None:
        if not points or self._span(points[-1]) != self._span(point):
            points.append(point)
        elif point.rss_bytes > points[-1].rss_bytes:
            points[-1] = point

    def _span(self, point: MemoryPoint) -> int:
        return int(point.time_ms // self.span_ms)
