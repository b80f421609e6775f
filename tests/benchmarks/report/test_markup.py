"""Escaping: no text becomes markup."""

from __future__ import annotations

import json

import pytest

from benchmarks.report.markup import Html, element, join, json_script, short, text
from tests.benchmarks.report.document import read
from tests.benchmarks.report.sample import HOSTILE, LONG


def shown(markup: str) -> str:
    return read(f"<!-- -->{markup}").text


@pytest.mark.parametrize("hostile", [HOSTILE, "<b>", "&lt;", "</p>", "'\"", "<!--", "]]>"])
def test_texts_stay_texts(hostile: str) -> None:
    made = element("p", hostile, title=hostile)
    (node,) = read(f"<!-- -->{made}").children
    assert not isinstance(node, str)
    forbidden = {"\0": "\ufffd", "\x07": "\ufffd", "\x9b": "\ufffd"}
    expected = hostile.translate(str.maketrans(forbidden))
    assert (node.tag, node.text, node.attributes) == ("p", expected, {"title": expected})


def test_markup_is_kept_and_texts_beside_it_are_escaped() -> None:
    assert element("p", Html("<b>x</b>"), " < ") == "<p><b>x</b> &lt; </p>"
    assert join(("<", Html("<br>"))) == "&lt;<br>"


def test_attributes() -> None:
    made = element(
        "th", "x", class_="a", aria_label="b", hidden=True, open=False, id=None, colspan=2
    )
    assert made == '<th class="a" aria-label="b" hidden colspan="2">x</th>'
    assert element("meta", name="viewport") == '<meta name="viewport">'


def test_data_cannot_leave_its_script() -> None:
    made = json_script({"prompt": HOSTILE})
    (node,) = read(f"<!-- -->{made}").children
    assert not isinstance(node, str)
    assert node.tag == "script"
    assert "<" not in node.text
    assert json.loads(node.text)["prompt"] == HOSTILE.replace("\x9b", "\ufffd")


def test_data_has_no_number_that_json_lacks() -> None:
    with pytest.raises(OverflowError, match="out of range"):
        json_script({"x": float("nan")})


def test_long_texts_get_a_box_that_the_keyboard_can_scroll() -> None:
    made = text(LONG)
    assert made.startswith('<bdi class="long" tabindex="0">0123')
    assert shown(made) == LONG
    assert text("short") == "<bdi>short</bdi>"


def test_names_are_cut() -> None:
    assert short("a  b\nc", 5) == "a b c"
    assert short("abcdef", 5) == "abcd…"
    assert short(" \n", 20) == "(no name)"
