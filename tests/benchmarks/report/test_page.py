"""The page as a file: well formed, self-contained, harmless, and with the figures of the result."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib import resources

import msgspec
import pytest

from benchmarks.bench.results import Report, Subject
from benchmarks.report.headline import headline
from benchmarks.report.page import page
from tests.benchmarks.report.document import Node, read
from tests.benchmarks.report.sample import HOSTILE, LONG, hostile, sample

FORBIDDEN = str.maketrans(dict.fromkeys("\0\x07\x9b", "\ufffd"))


@cache
def sample_page() -> str:
    return page(sample())


@cache
def hostile_page() -> str:
    return page(hostile())


def bare() -> Report:
    """A result with nothing but names."""
    report = sample()
    subjects = (Subject(name="alone", program="latedge", path="x"),)
    return Report(
        date=report.date,
        command=report.command,
        version=report.version,
        machine=report.machine,
        plan=report.plan,
        subjects=subjects,
    )


def figures(node: Node) -> list[str | None]:
    return [found.attributes["value"] for found in node.all("data")]


@pytest.mark.parametrize("made", [sample_page, hostile_page])
def test_page_is_well_formed(made: Callable[[], str]) -> None:
    text = made()
    assert text.startswith("<!DOCTYPE html>\n")
    root = read(text)
    names = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(set(names)) == len(names) > 20
    assert {link.attributes["href"] for link in root.one("nav").all("a")} <= {
        f"#{n}" for n in names
    }
    assert all(image.attributes.get("alt") for image in root.all("img"))
    assert all(node.attributes.get("aria-label") for node in root.all("div", role="img"))
    assert all(table.all("caption") for table in root.all("table"))
    assert all(cell.attributes["scope"] for cell in root.all("th"))


@pytest.mark.parametrize("made", [sample_page, hostile_page])
def test_nothing_is_loaded(made: Callable[[], str]) -> None:
    for node in read(made()).walk():
        for name in ("src", "href", "srcset", "poster", "action", "data", "xlink:href"):
            value = node.attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, f"{node.tag} loads {value[:80]}"
        assert not {name for name in node.attributes if name.startswith("on")}
    css = resources.files("benchmarks.report").joinpath("page.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?:", css)


def test_policy_allows_the_two_scripts_alone() -> None:
    root = read(sample_page())
    policy = root.one("meta", **{"http-equiv": "Content-Security-Policy"}).attributes["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    run = [node.text for node in root.all("script") if "type" not in node.attributes]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run]
    assert len(run) == 2
    assert policy.endswith(f"script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'")
    # A browser makes one line end of two characters before it hashes.
    assert not any("\r" in text for text in run)


def test_hostile_texts_are_shown_and_nothing_more() -> None:
    root = read(hostile_page())
    assert {node.attributes.get("type") for node in root.all("script")} == {
        None,
        "application/json",
    }
    assert len([node for node in root.all("script") if "type" not in node.attributes]) == 2
    told = [node.text for node in root.all("bdi")]
    assert told.count(HOSTILE.translate(FORBIDDEN)) > 10
    assert LONG in told
    assert (HOSTILE + LONG).translate(FORBIDDEN) in told
    texts = [node.text for node in root.one("body").walk() if node.tag not in ("body", "script")]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "".join(texts))


def test_headline_has_the_results_figures() -> None:
    first, second, _ = sample().subjects
    table = read(sample_page()).one("section", id="headline").one("table")
    rows = table.one("tbody").all("tr")
    for row, subject in zip(rows[:2], (first, second), strict=True):
        assert row.one("th").text == subject.name
        assert figures(row) == [repr(value) for value in headline_values(subject)]
    assert "failed" in rows[2].one("th").text
    assert figures(rows[2]) == [repr(sample().subjects[2].size_bytes)]
    assert rows[3].text == sample().subjects[2].error


def headline_values(subject: Subject) -> list[float]:
    times = [
        getattr(subject.stages[stage].summary, statistic)
        for stage, statistic in (
            ("picture", "p50"),
            ("picture", "p95"),
            ("unet_call", "p50"),
            ("unet_call", "p95"),
            ("vae_decoder", "p50"),
            ("load", "p50"),
            ("cold_load", "p50"),
            ("first_call", "p50"),
        )
        if stage in subject.stages
    ]
    memory, quality, energy = subject.memory, subject.quality, subject.energy
    assert memory is not None
    assert quality is not None
    shares = {limit.component: limit.share for limit in subject.limits}
    values = [
        *times,
        memory.peak_rss,
        memory.peak_pss,
        memory.device_peak,
        subject.size_bytes,
        quality.psnr_db,
        quality.ssim,
        quality.accuracy["single"].estimate,
        quality.accuracy["pair"].estimate,
        quality.clip_score,
        *(shares[name] for name in ("unet", "vae_decoder", "text_encoder")),
        energy and energy.joules_per_picture,
    ]
    return [value for value in values if value is not None]


def test_columns_name_their_units() -> None:
    head = read(sample_page()).one("section", id="headline").one("thead")
    titles = [cell.text for cell in head.all("th")]
    assert titles[:2] == ["Subject", "Runs on"]
    assert "p50, s" in titles
    assert "peak RSS, GB" in titles
    assert "GPU, GB" not in titles  # nobody has that figure


def test_columns_of_a_group_share_their_unit() -> None:
    report = sample()
    first = report.subjects[0]
    stage = first.stages["picture"]
    summary = msgspec.structs.replace(stage.summary, p50=990.0, p95=1_200.0)
    stages = {"picture": msgspec.structs.replace(stage, summary=summary)}
    altered = msgspec.structs.replace(first, stages=stages)
    table = headline(msgspec.structs.replace(report, subjects=(altered,))).html()
    assert ">p50, s<" in table
    assert ">0.990<" in table


def test_sections_without_data_are_absent() -> None:
    sections = [node.attributes["id"] for node in read(page(bare())).all("section")]
    assert sections == ["headline", "environment", "settings"]
    assert len(read(sample_page()).all("section")) == 15


def test_report_without_subjects() -> None:
    empty = msgspec.structs.replace(bare(), subjects=())
    assert read(page(empty)).one("section", id="headline").one("tbody").children == []


def test_verdict_on_the_machine_is_on_top() -> None:
    main = read(sample_page()).one("main")
    first = main.children[0]
    assert isinstance(first, Node)
    assert first.attributes["class"] == "verdict noisy"
    assert "19 %" in first.text


def test_errors_and_notes_are_told() -> None:
    notes = read(sample_page()).one("section", id="notes")
    assert "out of memory" in notes.one("p", class_="error").text
    assert [item.text for item in notes.all("li")] == [
        "vae_decoder: one node has no shape: left out.",
        "energy: this engine ran where no counter was open.",
        "vae_decoder: one node has no shape: left out.",
        "clip: two prompts were cut.",
        "memory: the process ended before it was sampled.",
    ]


def test_settings_that_subjects_share_are_told_once() -> None:
    settings = read(sample_page()).one("section", id="settings")
    assert [title.text for title in settings.all("h3")] == ["Pictures of all subjects"]
    differing = read(hostile_page()).one("section", id="settings")
    assert len(differing.all("h3")) == 2


def test_same_result_same_page() -> None:
    assert page(sample()) == sample_page()
