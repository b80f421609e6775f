"""A timeline stays short and keeps the largest sample of each span."""

from __future__ import annotations

from benchmarks.bench.timeline import Timeline


def test_few_samples_are_all_kept() -> None:
    timeline = Timeline(span_ms=10, most_points=8)
    samples = [(0.0, 5), (10.0, 3), (20.0, 9)]
    for sample in samples:
        timeline.add(*sample)
    assert [(p.time_ms, p.rss_bytes) for p in timeline.points()] == samples


def test_many_samples_are_thinned_to_the_largest_of_each_span() -> None:
    timeline = Timeline(span_ms=1, most_points=50)
    values = [(7919 * i) % 1009 for i in range(1000)]
    for i, value in enumerate(values):
        timeline.add(float(i), value)
    points = timeline.points()
    width = int(timeline.span_ms)
    assert width == 32
    spans = [values[start : start + width] for start in range(0, 1000, width)]
    assert [p.rss_bytes for p in points] == [max(span) for span in spans]
    assert all(values[int(p.time_ms)] == p.rss_bytes for p in points)


def test_one_peak_among_a_hundred_thousand_samples_stays() -> None:
    timeline = Timeline(span_ms=10)
    for i in range(100_000):
        timeline.add(i * 10.0, 1000 if i == 77_777 else 1)
    points = timeline.points()
    assert 300 <= len(points) <= 600
    assert [p.time_ms for p in points if p.rss_bytes == 1000] == [777_770.0]
