"""What `compile --target coreml` takes."""

from __future__ import annotations

import pytest

from exporter.coreml.options import NO_OPTIONS, CoreMlOptions, read_sizes
from runtimes.errors import UsageError


def test_nothing_given_is_no_option() -> None:
    assert NO_OPTIONS.as_options() == {}
    assert NO_OPTIONS.given() == ()


def test_given_ones_have_the_command_lines_names() -> None:
    options = CoreMlOptions(
        deployment_target="iOS18",
        attention="sdpa",
        compression="palette-6",
        sizes=("64x64", "64x128"),
        chunked=True,
    )
    assert options.as_options() == {
        "deployment-target": "iOS18",
        "attention": "sdpa",
        "compress": "palette-6",
        "sizes": "64x64,64x128",
        "chunk-unet": True,
    }


def test_an_empty_size_is_given_too() -> None:
    assert CoreMlOptions(sizes=("",)).given() == ("sizes",)


def test_sizes_are_height_by_width_in_the_order_given() -> None:
    assert read_sizes(("512x768", "64x8")) == ((512, 768), (64, 8))
    assert read_sizes(()) == ()


@pytest.mark.parametrize("size", ["512", "", "512x", "x512", "-8x8", "8x8x8", "8 x 8", "a64x64"])
def test_what_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(UsageError, match=rf"'{size}' is no size; .* such as 512x768"):
        read_sizes(("64x64", size))


def test_a_size_is_given_once() -> None:
    with pytest.raises(UsageError, match="size 064x64 is given twice"):
        read_sizes(("64x64", "064x64"))
