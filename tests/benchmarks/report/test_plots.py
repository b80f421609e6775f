"""What the plots are told to draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import plotly.graph_objects as go
import pytest

from benchmarks.bench.results import ComponentLimit, MemoryPoint, Peaks, Report, Stage
from benchmarks.report.growth import batches, resolutions
from benchmarks.report.latency import POINTS, latency
from benchmarks.report.memory import memory
from benchmarks.report.names import STAGE_TITLES
from benchmarks.report.plot import label, log_axis, si
from benchmarks.report.ratios import ratios
from benchmarks.report.roofline import roofline
from benchmarks.report.section import Section
from tests.benchmarks.report.document import read
from tests.benchmarks.report.sample import HOSTILE, hostile, sample, summarize

Spec = Mapping[str, Any]


def specs(section: Section | None) -> dict[str, Spec]:
    """The plots of a section by name; plotly's own validator has read them."""
    assert section is not None
    found: dict[str, Spec] = {}
    for figure in read(f"<!-- -->{section.html()}").all("figure"):
        spec = json.loads(figure.one("script").text)
        go.Figure(spec)
        found[(figure.one("div", role="img").attributes["id"] or "").removeprefix("plot-")] = spec
    return found


def alter(report: Report, **changes: Any) -> Report:
    """The report with its first subject alone, altered."""
    first = msgspec.structs.replace(report.subjects[0], **changes)
    return msgspec.structs.replace(report, subjects=(first,))


def test_latency_has_each_stage_and_all_samples() -> None:
    report = sample()
    found = specs(latency(report))
    assert list(found) == [f"latency-{stage}" for stage in STAGE_TITLES]
    for index, subject in enumerate(report.subjects[:2]):
        stage = subject.stages["unet_call"]
        bar, points = found["latency-unet_call"]["data"][2 * index : 2 * index + 2]
        assert bar["x"] == [stage.summary.p50 / 1e3]
        samples = [value for session in stage.sessions for value in session]
        low = float(np.percentile(samples, 10))
        assert bar["error_x"]["arrayminus"] == [(stage.summary.p50 - low) / 1e3]
        assert bar["error_x"]["array"] == [(stage.summary.p95 - stage.summary.p50) / 1e3]
        assert points["x"] == [value / 1e3 for value in samples]
        assert [session for _, session in points["customdata"]] == [1] * 100 + [2] * 100 + [3] * 100
        assert bar["meta"]["colour"] == index
    # The second subject has no cold load: the first is alone there.
    assert found["latency-cold_load"]["layout"]["yaxis"]["ticktext"] == ["ort-fp32"]


def test_points_lie_in_their_own_row_below_the_bar() -> None:
    plot = specs(latency(sample()))["latency-picture"]
    for row, (bar, points) in enumerate(zip(plot["data"][::2], plot["data"][1::2], strict=True)):
        below = bar["y"][0] + bar["width"] / 2
        assert all(below < y < row + 0.5 for y in points["y"])
        assert len(set(points["y"])) > 10


def test_many_samples_are_thinned_and_it_is_said() -> None:
    values = np.random.default_rng(0).lognormal(0, 1, 5 * POINTS).tolist()
    stage = Stage(sessions=(tuple(values),), summary=summarize(values))
    section = latency(alter(sample(), stages={"unet_call": stage}))
    points = specs(section)["latency-unet_call"]["data"][1]
    drawn = [x * 1e3 for x in points["x"]]
    assert len(drawn) <= POINTS
    np.testing.assert_allclose([min(drawn), max(drawn)], [min(values), max(values)])
    assert section is not None
    assert f"Of 5000 samples {POINTS} are drawn as points." in section.body


def test_stage_without_samples_is_drawn_from_its_summary() -> None:
    stage = Stage(sessions=(), summary=summarize([1.0, 2.0, 3.0]))
    bar, points = specs(latency(alter(sample(), stages={"picture": stage})))["latency-picture"][
        "data"
    ]
    assert bar["error_x"]["arrayminus"] == [0.001]
    assert points["x"] == []


def test_ratios_have_their_intervals() -> None:
    report = sample()
    (trace,) = specs(ratios(report))["ratios-0"]["data"]
    assert trace["x"] == [ratio.estimate for ratio in report.ratios]
    assert trace["error_x"]["array"] == [ratio.high - ratio.estimate for ratio in report.ratios]
    assert trace["error_x"]["arrayminus"] == [ratio.estimate - ratio.low for ratio in report.ratios]
    assert [row[4] for row in trace["customdata"]] == [ratio.verdict for ratio in report.ratios]
    assert trace["meta"] == {"colour": 1}


def test_ratios_far_from_one_get_a_logarithmic_axis() -> None:
    report = sample()
    far = msgspec.structs.replace(report.ratios[0], estimate=3.0, low=2.5, high=4.0)
    wide = specs(ratios(msgspec.structs.replace(report, ratios=(far,))))["ratios-0"]
    assert wide["layout"]["xaxis"]["type"] == "log"
    assert "type" not in specs(ratios(report))["ratios-0"]["layout"]["xaxis"]


def test_memory_has_the_timeline_and_its_marks() -> None:
    report = sample()
    data = specs(memory(report))["memory"]["data"]
    for index, subject in enumerate(report.subjects[:2]):
        found = subject.memory
        assert found is not None
        line, marks = data[2 * index : 2 * index + 2]
        assert line["x"] == [point.time_ms / 1e3 for point in found.timeline]
        assert line["y"] == [point.rss_bytes for point in found.timeline]
        assert marks["x"] == [value / 1e3 for value in found.marks.values()]
        assert set(marks["y"]) <= set(line["y"])


def test_memory_without_a_timeline_is_a_table() -> None:
    first = sample().subjects[0].memory
    assert first is not None
    bare = msgspec.structs.replace(first, timeline=(), marks={})
    section = memory(alter(sample(), memory=bare))
    assert specs(section) == {}
    assert section is not None
    assert str(first.peak_rss) in section.body


def test_marks_stand_on_the_line() -> None:
    first = sample().subjects[0].memory
    assert first is not None
    points = (MemoryPoint(10.0, 5), MemoryPoint(20.0, 7))
    marked = msgspec.structs.replace(first, timeline=points, marks={"load": 1.0, "picture": 20.0})
    _, marks = specs(memory(alter(sample(), memory=marked)))["memory"]["data"]
    assert marks["y"] == [5, 7]


def test_roofline_points_and_roof() -> None:
    report = sample()
    roof, *points = specs(roofline(report))["roofline"]["data"]
    peaks = report.peaks
    assert peaks is not None
    assert roof["y"][1:] == [peaks.flops_per_s] * 2
    assert roof["x"][1] == peaks.flops_per_s / peaks.bytes_per_s
    assert roof["y"][0] == pytest.approx(roof["x"][0] * peaks.bytes_per_s)
    for trace, subject in zip(points[:2], report.subjects[:2], strict=True):
        limits = subject.limits
        assert trace["x"] == [(limit.flops or 0) / (limit.bytes or 1) for limit in limits]
        expected = [(limit.flops or 0) / (limit.time_ms or 1) * 1e3 for limit in limits]
        assert trace["y"] == pytest.approx(expected)
        assert len(set(trace["marker"]["symbol"])) == 3
    assert [trace["name"] for trace in points[2:]] == ["U-Net", "VAE decoder", "Text encoder"]


def test_roofline_without_peaks_or_times() -> None:
    report = msgspec.structs.replace(sample(), peaks=None)
    names = [trace["name"] for trace in specs(roofline(report))["roofline"]["data"]]
    assert "machine's peak" not in names
    limits = tuple(msgspec.structs.replace(x, time_ms=None) for x in report.subjects[0].limits)
    section = roofline(alter(report, limits=limits))
    assert specs(section) == {}
    assert section is not None
    assert "803 GFLOP" in section.body


def test_components_that_were_not_counted_are_lines_without_figures() -> None:
    limit = ComponentLimit(component="unet", feeds={}, time_ms=10.0, note="no onnx here.")
    section = roofline(alter(sample(), limits=(limit,)))
    assert specs(section) == {}
    assert section is not None
    table = read(f"<!-- -->{section.html()}").one("table")
    assert [cell.text for cell in table.all("td")] == ["U-Net", "10.0 ms"]


def test_peaks_of_one_thread_are_in_the_singular() -> None:
    peaks = Peaks(flops_per_s=1e11, bytes_per_s=1e10, threads=1)
    section = roofline(msgspec.structs.replace(sample(), peaks=peaks))
    assert section is not None
    assert "with 1 thread." in section.body


def test_cost_over_resolution() -> None:
    report = sample()
    found = specs(resolutions(report))
    assert list(found) == ["size-picture", "size-unet", "size-vae", "size-memory"]
    for index, subject in enumerate(report.subjects[:2]):
        sizes = subject.resolutions
        assert found["size-picture"]["data"][index]["x"] == [r.height * r.width for r in sizes]
        times = [(r.picture_ms or 0) / 1e3 for r in sizes]
        assert found["size-picture"]["data"][index]["y"] == times
        assert found["size-memory"]["data"][index]["y"] == [r.peak_rss for r in sizes]
    axis = found["size-unet"]["layout"]["xaxis"]
    assert axis["ticktext"] == ["256×256", "384×384", "512×512", "768×768"]


def test_throughput_over_batch_leaves_out_what_failed_and_says_so() -> None:
    section = batches(sample())
    found = specs(section)
    assert [trace["x"] for trace in found["batch-rate"]["data"]] == [[1, 2, 4], [1, 2, 4]]
    rates = [batch.pictures_per_s for batch in sample().subjects[1].batches]
    assert found["batch-rate"]["data"][1]["y"] == rates
    assert section is not None
    assert "out of memory" in section.body


def test_hostile_names_are_escaped_for_plotly_too() -> None:
    """plotly.js reads tags in its texts, links among them."""
    for make in (latency, ratios, memory, roofline, resolutions, batches):
        told = json.dumps([spec["data"] for spec in specs(make(hostile())).values()])
        assert "&lt;/script&gt;" in told
        assert "<img" not in told
        assert "<script" not in told


def test_labels_are_short_and_escaped() -> None:
    assert label("a < b & c") == "a &lt; b &amp; c"
    assert len(label("x" * 100)) == 20
    assert label(HOSTILE).startswith("&lt;/script&gt;&lt;")


def test_logarithmic_axes_have_round_ticks_with_units() -> None:
    axis = log_axis([0.02, 0.9], "s")
    assert axis["range"][0] < np.log10(0.02) < np.log10(0.9) < axis["range"][1]
    ticks = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
    assert ticks[0.03] == "30 ms"
    assert ticks[1.0] == "1 s"
    assert (si(2e12, "FLOP/s"), si(5e-6, "s"), si(1000, "")) == ("2 TFLOP/s", "5 µs", "1 k")
