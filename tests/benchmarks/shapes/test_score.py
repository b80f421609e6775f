import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.shapes.captions import parse
from benchmarks.shapes.generator import CLASSES, Picture, draw
from benchmarks.shapes.judge import judge
from benchmarks.shapes.painters import PaintConfig
from benchmarks.shapes.score import (
    ATTRIBUTES,
    Score,
    chance,
    compare,
    prompts,
    score,
    score_pictures,
)
from benchmarks.shapes.score_command import main

COUNT = 500


def perfect(prompt: str, seed: int) -> Picture:
    return draw(parse(prompt))


@pytest.fixture(scope="module", params=CLASSES)
def shuffled(request: pytest.FixtureRequest) -> Score:
    """Verdicts on the generator's drawings of other prompts."""
    asked = prompts(request.param, COUNT)
    order = random.Random(0).sample(range(COUNT), COUNT)
    return score_pictures(asked, (draw(asked[i].scene) for i in order))


def test_prompts_are_fixed_and_extend_each_other() -> None:
    for scene_class in CLASSES:
        asked = prompts(scene_class, 20)
        assert asked == prompts(scene_class, 40)[:20]
        assert [prompt.seed for prompt in asked] == list(range(20))


def test_shuffled_prompts_score_at_chance(shuffled: Score) -> None:
    """All attributes lie within 4 standard errors of chance."""
    expected = chance(shuffled.scene_class)
    assert expected["all"] < 0.001
    for attribute in set(ATTRIBUTES) - {"all"}:
        level = expected[attribute]
        margin = 4 * (level * (1 - level) / COUNT) ** 0.5
        assert abs(shuffled.accuracy(attribute).estimate - level) <= margin, attribute
    # One picture in 1,728 (single) or 18,432 (pair): 4 of 500 would be beyond 1 in 4,000.
    assert sum(shuffled.right()) < 4


def test_chance_follows_from_the_words() -> None:
    """Of a single object each attribute has its own number of equally likely words."""
    level = chance("single")
    words = {"shape": 4, "colour": 6, "size": 2, "place": 9, "background": 4}
    for attribute, count in words.items():
        assert level[attribute] == pytest.approx(1 / count, abs=0.015)
    assert level["all"] == 1 / (4 * 6 * 2 * 9 * 4)
    assert chance("pair", 10)["all"] == 2 / ((4 * 6 * 2) ** 2 * 4 * 4)


def test_scores_a_callable_with_progress() -> None:
    told: list[int] = []
    made = score(perfect, "pair", 10, told.append)
    assert made.accuracy().estimate == 1
    assert told == list(range(1, 11))


def test_compare_finds_a_planted_drop() -> None:
    asked = prompts("single", 100)
    good = score_pictures(asked, (draw(prompt.scene) for prompt in asked))
    blank = np.zeros((64, 64, 3), np.uint8)
    worse = score_pictures(
        asked, (blank if i < 10 else draw(prompt.scene) for i, prompt in enumerate(asked))
    )
    assert compare(good, good).low < 0 < compare(good, good).high
    drop = compare(good, worse)
    assert drop.estimate == pytest.approx(-0.1)
    assert drop.high < 0
    assert compare(good, worse, "background").low < drop.high


def test_scores_that_do_not_pair_are_refused() -> None:
    single, pair = (score(perfect, scene_class, 5) for scene_class in CLASSES)
    with pytest.raises(ValueError, match="different classes: single and pair"):
        compare(single, pair)
    with pytest.raises(ValueError, match="given 5 and 3"):
        compare(single, score(perfect, "single", 3))
    with pytest.raises(ValueError, match="no prompts"):
        score_pictures([], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no folder at nowhere; give a Diffusers folder or a compiled bundle."),
        (["x", "--steps", "0"], "--steps is at least 1; given 0."),
        (["x", "--count", "0"], "--count is at least 1; given 0."),
        (["x", "--class", "pairs"], "Did you mean 'pair'?"),
    ],
)
def test_wrong_usage_ends_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_an_unknown_sampler_is_refused(
    shapes_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(shapes_model), "--sampler", "dimm"]) == 2
    assert "Did you mean 'ddim'?" in capsys.readouterr().err


def test_the_report_names_both_models(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def painter(path: object, config: PaintConfig) -> object:
        def paint(texts: Sequence[str], seeds: Sequence[int]) -> Iterator[Picture]:
            yield from map(perfect, texts, seeds)

        return paint

    monkeypatch.setattr("benchmarks.shapes.score_command.painter", painter)
    assert main(["one", "two", "--count", "5", "--class", "single"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["first: one", "second: two"]
    assert lines[2] == "single, 5 prompts, % right (95 % interval)"
    assert lines[-1].split()[:2] == ["all", "100.0"]
    assert "difference +0.0" in lines[-1]


def test_judged_by_the_prompt_alone() -> None:
    """A drawing with other measures than the prompt's own scene is right all the same."""
    first, second = prompts("single", 2)
    assert judge(draw(parse(first.text)), first.scene).all
    assert not judge(draw(parse(second.text)), first.scene).all
