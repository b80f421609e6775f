from __future__ import annotations

import csv
import io

import msgspec
import pytest

from benchmarks.bench.columns import milliseconds, size
from benchmarks.bench.csv_lines import as_csv
from benchmarks.bench.results import (
    Batch,
    Memory,
    Quality,
    Ratio,
    Report,
    Resolution,
    Stage,
    Subject,
    Summary,
)
from benchmarks.bench.tables import as_markdown, as_text, ratio_lines, tables
from tests.benchmarks.bench.test_results import report


def summary(p50: float) -> Summary:
    return Summary(
        n=3, min=p50 - 1, p50=p50, p90=p50 + 1, p95=p50 + 2, p99=p50 + 3, max=p50 + 4, spread=0.123
    )


def full() -> Report:
    stage = Stage(sessions=((1.0, 2.0, 3.0),), summary=summary(12.34))
    row = Subject(
        name="a|b<c>",
        program="latedge",
        path="p",
        engine="e 1",
        size_bytes=1_500_000,
        stages={"picture": stage, "unet_call": stage},
        memory=Memory(peak_rss=2_345_000_000),
        quality=Quality(reference="r", psnr_db=41.26, ssim=0.98765),
        batches=(Batch(size=2, pictures_per_s=3.456, batch_ms=578.7),),
        resolutions=(Resolution(height=64, width=128, error="it is built for 64×64"),),
        notes=("no cold load",),
    )
    broken = Subject(name="broken", program="latedge", path="q", error="ended by SIGKILL")
    ratio = Ratio(
        stage="picture",
        subject="x",
        baseline="y",
        estimate=1.05,
        low=1.01,
        high=1.09,
        confidence=0.95,
        pairs=25,
        verdict="slower",
    )
    return msgspec.structs.replace(report(), subjects=(row, broken), ratios=(ratio,))


def test_the_first_table_has_a_line_a_subject_and_no_empty_column() -> None:
    first = tables(full())[0]
    rows = [dict(zip(first.header, row, strict=True)) for row in first.rows]
    assert rows[0] == {
        "subject": "a|b<c>",
        "engine": "e 1",
        "picture p50": "12.3 ms",
        "p95": "14.3 ms",
        "U-Net call p50": "12.3 ms",
        "peak RSS": "2.35 GB",
        "on disk": "1.5 MB",
        "PSNR": "41.3 dB",
        "SSIM": "0.9877",
        "error": "–",
    }
    assert rows[1]["error"] == "ended by SIGKILL"
    assert rows[1]["picture p50"] == "–"


def test_tables_without_rows_are_left_out() -> None:
    titles = [table.title for table in tables(full())]
    assert [title.split(",")[0] for title in titles] == [
        "Subjects",
        "Stages",
        "Ratios",
        "Cost by size",
        "Throughput",
        "Notes",
    ]


def test_the_cost_of_a_size_is_set_beside_the_first() -> None:
    small = Resolution(height=64, width=64, picture_ms=10.0, peak_rss=100)
    large = Resolution(height=128, width=64, picture_ms=25.0, peak_rss=150)
    failed = Resolution(height=128, width=128, error="too large")
    row = Subject(name="a", program="", path="", resolutions=(small, large, failed))
    (table,) = (
        table
        for table in tables(msgspec.structs.replace(report(), subjects=(row,)))
        if table.title == "Cost by size"
    )
    assert [line[6:] for line in table.rows] == [
        ["× 1", "× 1", "× 1", ""],
        ["× 2", "× 2.5", "× 1.5", ""],
        ["× 4", "–", "–", "too large"],
    ]


def test_markdown_is_escaped_and_whole() -> None:
    text = as_markdown(full())
    assert "| a\\|b&lt;c> | e 1 | 12.3 ms |" in text
    assert "| x / y | picture | 1.050 | 1.010 to 1.090 | 25 | slower |" in text
    tables_ = [part for part in text.split("\n\n") if part.startswith("| ")]
    for table in tables_:
        assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_csv_has_a_line_a_subject_with_units_in_the_names() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(full()))))
    assert [row["name"] for row in rows] == ["a|b<c>", "broken"]
    assert rows[0]["picture_p50_ms"] == "12.34"
    assert rows[0]["unet_call_spread"] == "0.123"
    assert rows[0]["peak_rss_bytes"] == "2345000000"
    assert rows[0]["pictures_per_s_at_2"] == "3.456"
    assert rows[0]["picture_ms_128x64"] == ""
    assert rows[1]["error"] == "ended by SIGKILL"
    assert rows[1]["picture_p50_ms"] == ""


def test_text_shows_every_table(capsys: pytest.CaptureFixture[str]) -> None:
    as_text(full())
    shown = capsys.readouterr().out
    for table in tables(full()):
        assert table.title.split(" (")[0] in shown


def test_what_the_ratios_cannot_tell_is_said() -> None:
    single = full()  # of one session
    assert ratio_lines(single) == [
        "no ratios: how much processes differ shows in two sessions or more (--sessions)"
    ]
    plan = msgspec.structs.replace(single.plan, sessions=5)
    several = msgspec.structs.replace(single, plan=plan)
    assert ratio_lines(several) == []  # 1.01 to 1.09 around 1.05
    (ratio,) = several.ratios
    wide = msgspec.structs.replace(ratio, high=1.26)
    (line,) = ratio_lines(msgspec.structs.replace(several, ratios=(wide,)))
    assert line.startswith("differences of a whole picture below 20 % can't be told here")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.1234, "0.12 ms"), (12.34, "12.3 ms"), (999.4, "999 ms"), (56_789, "56.8 s")],
)
def test_milliseconds(value: float | None, shown: str) -> None:
    assert milliseconds(value) == shown


def test_sizes() -> None:
    assert [size(None), size(1_234_567), size(2_345_678_901)] == ["–", "1.2 MB", "2.35 GB"]
