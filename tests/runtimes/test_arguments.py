"""Arguments that hold more than one value."""

from __future__ import annotations

import pytest

from runtimes.arguments import named_values, number_list
from runtimes.errors import UsageError


def test_numbers_have_commas_between_them() -> None:
    assert number_list("--sigmas", None) is None
    assert number_list("--sigmas", "14.6, 7,0") == (14.6, 7.0, 0.0)
    with pytest.raises(UsageError) as raised:
        number_list("--sigmas", "14.6;7")
    assert str(raised.value) == (
        "--sigmas holds '14.6;7', which is no number; give numbers with commas between them, such "
        "as 14.6,3.9,0"
    )


def test_values_have_names_and_types() -> None:
    found = named_values("--o", ["a=true", "b=false", "c=3", "d=0.5", "e=-inf", "f=x=y", "g="])
    expected = {"a": True, "b": False, "c": 3, "d": 0.5, "e": float("-inf"), "f": "x=y", "g": ""}
    assert found == expected
    assert [type(value) for value in found.values()] == [type(v) for v in expected.values()]
    assert named_values("--o", []) == {}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["eta"], "--o is 'eta'; give a name and its value, such as eta=0.5"),
        (["=1"], "--o is '=1'; give a name and its value, such as eta=0.5"),
        (["eta=1", "eta=2"], "--o gives 'eta' twice"),
    ],
)
def test_what_is_no_name_and_value_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        named_values("--o", texts)
    assert str(raised.value) == message
