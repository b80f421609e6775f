"""The peak of a process tree's memory, of samples and of what the kernel remembers between them."""

from __future__ import annotations

from benchmarks.bench.process_tree import Reading


class StagePeak:
    """The peak of one stage; `benchmarks.bench.memory` says how it is composed.

    Args:
        readings: as the stage begins. Of a mark that couldn't be set back, only what rises above it
            counts.

    Attributes:
        bound: bytes that the tree had at most.
        seen: bytes that it had for certain.
    """

    def __init__(self, readings: list[Reading]) -> None:
        self._floors = {reading.pid: reading.high_water or 0 for reading in readings}
        self._peaks: dict[int, int] = {reading.pid: reading.rss for reading in readings}
        self.bound = self.seen = sum(self._peaks.values())

    def take(self, readings: list[Reading]) -> int:
        """Takes a sample.

        Returns:
            Bytes resident; of a process whose mark rose since the last sample, the mark.
        """
        before = self._peaks
        self._peaks = {r.pid: max(before.get(r.pid, 0), self._known(r)) for r in readings}
        ended = sum(peak for pid, peak in before.items() if pid not in self._peaks)
        self.bound = max(self.bound, sum(self._peaks.values()) + ended)
        resident = sum(reading.rss for reading in readings)
        self.seen = max(self.seen, resident, *self._peaks.values())
        return sum(self._now(reading, before.get(reading.pid, 0)) for reading in readings)

    def _known(self, reading: Reading) -> int:
        mark = reading.high_water or 0
        return max(reading.rss, mark if mark > self._floors.get(reading.pid, 0) else 0)

    def _now(self, reading: Reading, before: int) -> int:
        peak = self._peaks[reading.pid]
        return peak if peak > before else reading.rss
