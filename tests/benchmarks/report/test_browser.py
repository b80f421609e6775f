"""The page in a real browser: `make test-report`. It may say nothing and ask for nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bench.results import Report, encode
from latedge import main
from tests.benchmarks.report.sample import HOSTILE, hostile, sample

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # chromium refuses to run as root with it, and CI is root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
DESKTOP, PHONE = (1280, 900), (390, 844)


class Page:
    """A browser with a page open."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(
        self, path: Path, size: tuple[int, int] = DESKTOP, *, dark: bool = False, media: str = ""
    ) -> None:
        self.media(dark=dark, media=media)
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1}
        mobile = {"mobile": size == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, **mobile})
        self.logs("browser")
        self.logs("performance")
        self.driver.get(path.as_uri())
        self.wait("return document.documentElement.dataset.plots === 'drawn'")

    def media(self, *, dark: bool, media: str = "") -> None:
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        asked = {"media": media, "features": [feature]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", asked)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.driver, 60).until(lambda _: self.run(script))

    def logs(self, kind: str) -> list[Any]:
        return self.driver.get_log(kind)

    def requests(self) -> set[str]:
        """The addresses that the page asked for."""
        messages = [json.loads(entry["message"])["message"] for entry in self.logs("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return {params["request"]["url"] for params in sent}

    def plot(self, name: str) -> list[dict[str, Any]]:
        """The traces of a plot as plotly.js holds them, its typed arrays as lists."""
        script = """
            const plain = (key, value) => ArrayBuffer.isView(value) ? [...value] : value;
            return JSON.stringify(document.getElementById(arguments[0]).data, plain);
        """
        return json.loads(self.run(script, f"plot-{name}"))

    def count(self, selector: str) -> int:
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def drawn_colour(self) -> str:
        script = "return getComputedStyle(document.querySelector('.gtitle, .xtick text')).fill"
        return self.run(script)

    def background(self) -> str:
        return self.run("return getComputedStyle(document.body).backgroundColor")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    assert all(programs), "chromium and chromedriver are needed: apt install chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0] or ""
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")
        patch.setenv("SE_AVOID_STATS", "true")
        driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    try:
        yield Page(driver)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


def written(folder: Path, name: str, report: Report) -> Path:
    result, output = folder / f"{name}.json", folder / f"{name}.html"
    result.write_bytes(encode(report))
    assert main(["report", str(result), "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return written(folder, "plain", sample())


@pytest.fixture(scope="module")
def nasty(folder: Path) -> Path:
    return written(folder, "nasty", hostile())


@pytest.mark.parametrize(
    ("name", "size", "dark"),
    [
        ("plain", DESKTOP, False),
        ("plain", DESKTOP, True),
        ("plain", PHONE, False),
        ("plain", PHONE, True),
        ("nasty", DESKTOP, False),
        ("nasty", PHONE, True),
    ],
)
def test_page_is_silent_and_alone(
    page: Page, name: str, size: tuple[int, int], dark: bool, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(name)
    page.open(path, size, dark=dark)
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    page.run("document.getElementById('theme').click()")
    assert page.logs("browser") == []
    asked = page.requests()
    assert path.as_uri() in asked
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    drawn = page.count(".plotly-graph-div svg.main-svg")
    assert drawn >= 2 * page.count(".plotly-graph-div") > 20


def test_a_console_message_and_a_request_would_be_seen(page: Page, folder: Path) -> None:
    """That the two checks above can fail."""
    path = folder / "loud.html"
    path.write_text(
        "<html data-plots=drawn><script>console.log('heard')</script><img src=http://127.0.0.1:9/x>"
    )
    page.open(path)
    told = [entry["message"] for entry in page.logs("browser")]
    assert any('"heard"' in message for message in told)
    assert "http://127.0.0.1:9/x" in page.requests()


def test_hostile_texts_run_nothing_and_are_shown(page: Page, nasty: Path) -> None:
    page.open(nasty)
    assert page.run("return document.title").startswith("latedge bench")
    assert page.count("script:not([type])") == 2
    assert page.count("svg a") == 0
    ticks = page.run(
        "return [...document.querySelectorAll('.ytick text')].map((t) => t.textContent)"
    )
    assert f"{HOSTILE[:19]}…" in ticks


def test_headline_shows_the_results_figures(page: Page, plain: Path) -> None:
    page.open(plain)
    script = """
        const rows = [...document.querySelectorAll('#headline tbody tr')];
        return rows.map((row) => [
            row.querySelector('th')?.textContent,
            ...[...row.querySelectorAll('data')].map((cell) => [cell.value, cell.innerText]),
        ]);
    """
    first, second, crashed, error = page.run(script)
    for row, subject in zip((first, second), sample().subjects[:2], strict=True):
        summary = subject.stages["picture"].summary
        assert row[0] == subject.name
        assert row[1] == [repr(summary.p50), f"{summary.p50 / 1e3:.1f}"]
        assert row[2] == [repr(summary.p95), f"{summary.p95 / 1e3:.1f}"]
        call = subject.stages["unet_call"].summary
        assert [float(value) for value, _ in row[3:5]] == [call.p50, call.p95]
        assert subject.memory is not None
        assert repr(subject.memory.peak_rss) in [value for value, _ in row[1:]]
    assert crashed[0] == "torchfailed"
    assert error == [None]


def test_plots_hold_the_results_figures(page: Page, plain: Path) -> None:
    page.open(plain)
    for index, subject in enumerate(sample().subjects[:2]):
        for stage, found in subject.stages.items():
            traces = page.plot(f"latency-{stage}")
            bar, points = traces[2 * index : 2 * index + 2]
            assert bar["x"] == [found.summary.p50 / 1e3]
            assert points["x"] == [value / 1e3 for s in found.sessions for value in s]
        assert subject.memory is not None
        line = page.plot("memory")[2 * index]
        assert line["y"] == [point.rss_bytes for point in subject.memory.timeline]
        roof = page.plot("roofline")[1 + index]
        assert roof["x"] == [(x.flops or 0) / (x.bytes or 1) for x in subject.limits]
        sizes = page.plot("size-picture")[index]
        assert sizes["y"] == [(r.picture_ms or 0) / 1e3 for r in subject.resolutions]
        rates = page.plot("batch-rate")[index]
        assert rates["y"] == [b.pictures_per_s for b in subject.batches if b.pictures_per_s]
    (ratios,) = page.plot("ratios-0")
    assert ratios["x"] == [ratio.estimate for ratio in sample().ratios]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system_and_the_button(page: Page, plain: Path, dark: bool) -> None:
    light_page, dark_page = "rgb(255, 255, 255)", "rgb(20, 23, 28)"
    light_text, dark_text = "rgb(28, 36, 48)", "rgb(230, 233, 238)"
    before = (dark_page, dark_text) if dark else (light_page, light_text)
    after = (light_page, light_text) if dark else (dark_page, dark_text)
    page.open(plain, dark=dark)
    assert (page.background(), page.drawn_colour()) == before
    button = page.run("return document.getElementById('theme')")
    assert button.text == ("Light" if dark else "Dark")
    button.click()
    assert (page.background(), page.drawn_colour()) == after
    assert button.text == ("Dark" if dark else "Light")
    # What the user chose stays when the system changes its mind.
    page.media(dark=not dark)
    assert page.background() == after[0]


def test_plots_follow_the_system_while_the_page_is_open(page: Page, plain: Path) -> None:
    page.open(plain)
    page.media(dark=True)
    page.wait("return document.getElementById('theme').textContent === 'Light'")
    assert page.drawn_colour() == "rgb(230, 233, 238)"


@pytest.mark.parametrize("name", ["plain", "nasty"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP, (320, 568)])
def test_page_never_scrolls_sideways(
    page: Page, name: str, size: tuple[int, int], request: pytest.FixtureRequest
) -> None:
    page.open(request.getfixturevalue(name), size)
    page.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    wide = """
        const inside = (each) => each.closest('.scroll, .pictures, .long, .heard');
        return [...document.querySelectorAll('main *')]
            .filter((each) => !inside(each))
            .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
            .map((each) => each.outerHTML.slice(0, 90));
    """
    assert page.run(wide) == []
    plots = "return [...document.querySelectorAll('.plotly-graph-div')]"
    widths = page.run(f"{plots}.map((div) => [div.clientWidth, div._fullLayout.width])")
    assert all(drawn == room for room, drawn in widths)


def test_narrow_tables_scroll_in_their_box(page: Page, plain: Path) -> None:
    page.open(plain, PHONE)
    box = "document.querySelector('#headline .scroll')"
    assert page.run(f"return {box}.scrollWidth > {box}.clientWidth")
    page.run(f"{box}.scrollLeft = 200")
    assert page.run(f"return {box}.scrollLeft") == 200
    # The subjects' names stay in sight.
    assert page.run(f"return {box}.querySelector('tbody th').getBoundingClientRect().left") < 40


def test_plots_grow_with_the_window(page: Page, plain: Path) -> None:
    page.open(plain, PHONE)
    narrow = page.run("return document.getElementById('plot-memory')._fullLayout.width")
    metrics = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.wait("return document.getElementById('plot-memory')._fullLayout.width > 1000")
    assert narrow < 390


def point_at(page: Page, selector: str) -> None:
    from selenium.webdriver import ActionChains

    page.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
    (target, *_) = page.driver.find_elements("css selector", selector)
    ActionChains(page.driver).move_to_element(target).perform()


def hovered(page: Page) -> str:
    page.wait("return document.querySelector('.hoverlayer .hovertext text') !== null")
    return page.run("return document.querySelector('.hoverlayer .hovertext text').textContent")


def test_pointing_at_a_bar_tells_its_figures(page: Page, plain: Path) -> None:
    page.open(plain)
    point_at(page, "#plot-latency-picture .barlayer .point path")
    told = hovered(page)
    first = sample().subjects[0]
    assert told.startswith(first.name)
    assert f"p50 {first.stages['picture'].summary.p50 / 1e3:.2f}s" in told
    assert "15 samples" in told


def test_pointing_at_a_hostile_name_shows_it_as_text(page: Page, nasty: Path) -> None:
    page.open(nasty)
    point_at(page, "#plot-latency-picture .barlayer .trace:nth-child(2) .point path")
    assert HOSTILE[:50] in hovered(page)
    assert page.count(".hoverlayer a, .hoverlayer img") == 0
    assert page.logs("browser") == []


def test_legend_hides_and_shows_a_subject(page: Page, plain: Path) -> None:
    page.open(plain)
    shown = "return document.querySelectorAll('#plot-size-unet .scatterlayer .trace').length"
    assert page.run(shown) == 2
    toggle = "#plot-size-unet .legendtoggle"
    page.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", toggle)
    page.driver.find_elements("css selector", toggle)[0].click()
    page.wait(f"{shown} === 1")
    page.driver.find_elements("css selector", toggle)[0].click()
    page.wait(f"{shown} === 2")


def test_figures_unfold_below_a_plot(page: Page, plain: Path) -> None:
    page.open(plain)
    page.driver.find_elements("css selector", "#latency summary")[0].click()
    (table, *_) = page.driver.find_elements("css selector", "#latency details table")
    assert table.is_displayed()
    assert "ort-fp32" in table.text


@pytest.mark.parametrize("name", ["plain", "nasty"])
def test_paper_is_light_unfolded_and_wide_enough(
    page: Page, name: str, request: pytest.FixtureRequest
) -> None:
    # A4 on its side, less its margins.
    page.open(request.getfixturevalue(name), (1030, 700), dark=True, media="print")
    page.run("dispatchEvent(new Event('beforeprint'))")
    page.wait("return document.getElementById('plot-memory')._fullLayout.width === 920")
    assert page.background() == "rgb(255, 255, 255)"
    assert page.drawn_colour() == "rgb(28, 36, 48)"
    assert page.count("details:not([open])") == 0
    assert not page.driver.find_element("css selector", "#theme").is_displayed()
    if name == "plain":
        assert page.run("return document.documentElement.scrollWidth") <= 1030
    page.run("dispatchEvent(new Event('afterprint'))")
    page.wait("return document.getElementById('plot-memory')._fullLayout.width !== 920")
    assert page.count("details:not([open])") > 5


def test_page_prints(page: Page, plain: Path) -> None:
    page.open(plain)
    printed = page.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert len(printed["data"]) > 100_000
    assert page.logs("browser") == []


def test_page_can_be_read_without_scripts(page: Page, plain: Path) -> None:
    page.open(plain)
    page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.driver.get(plain.as_uri())
        assert (
            "tables hold their figures" in page.driver.find_element("css selector", "noscript").text
        )
        assert not page.driver.find_element("css selector", "#theme").is_displayed()
        assert "ort-fp32" in page.driver.find_element("css selector", "#headline").text
    finally:
        page.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_text_can_be_told_from_its_ground(page: Page, plain: Path) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least, in both colours."""
    script = """
        const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const ground = (each) => {
            for (let at = each; at; at = at.parentElement) {
                const found = rgb(getComputedStyle(at).backgroundColor);
                if (found[3] !== 0) return found;
            }
        };
        const tags = 'p, a, th, td, h1, h2, h3, li, summary, code, button, span, time';
        const ratios = [...document.querySelectorAll(`body :is(${tags})`)]
            .filter((each) => each.textContent.trim() && each.getClientRects().length)
            .map((each) => {
                const [a, b] = [light(rgb(getComputedStyle(each).color)), light(ground(each))];
                const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                return [ratio, each.outerHTML.slice(0, 90)];
            });
        return [ratios.length, ratios.filter(([ratio]) => ratio < 4.5)];
    """
    for dark in (False, True):
        page.open(plain, dark=dark)
        count, faint = page.run(script)
        assert count > 200
        assert faint == []
