import pytest

from benchmarks.shapes.captions import brief_caption, caption, parse, sentence
from benchmarks.shapes.generator import CLASSES, SceneClass, scene


def test_captions_read_as_the_grammar_says() -> None:
    assert caption(scene("single", 0)) == "a small purple circle on the left on a pink background"
    pair = sentence(
        (("large", "red", "circle"), ("small", "blue", "square")),
        relation="above",
        background="white",
    )
    assert pair == "a large red circle above a small blue square on a white background"
    assert sentence((("orange", "cross"),)) == "an orange cross"


@pytest.mark.parametrize("scene_class", CLASSES)
def test_a_caption_is_read_back(scene_class: SceneClass) -> None:
    for seed in range(300):
        text = caption(scene(scene_class, seed))
        assert caption(parse(text)) == text


@pytest.mark.parametrize("scene_class", CLASSES)
def test_brief_captions_leave_words_out(scene_class: SceneClass) -> None:
    shown = scene(scene_class, 3)
    texts = {brief_caption(shown, seed) for seed in range(200)}
    assert caption(shown) in texts
    full = set(caption(shown).split())
    assert all(set(text.split()) <= full | {"a", "an"} for text in texts)
    # Size, place (of a single object alone) and background come and go.
    assert len(texts) == (8 if scene_class == "single" else 4)


@pytest.mark.parametrize("text", ["", "a red circle", "a large red star in the center"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a full caption of the grammar: '.*'; one is: 'a"):
        parse(text)
