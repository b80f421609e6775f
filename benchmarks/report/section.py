"""A part of the page with a heading of its own."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.report.markup import Html, element


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: unique in the page; links lead to it.
        title: its heading.
        body: what is below.
    """

    name: str
    title: str
    body: Html

    def html(self) -> Html:
        """The part as markup."""
        heading = element("h2", self.title, id=f"{self.name}-title")
        return element(
            "section", heading, self.body, id=self.name, aria_labelledby=f"{self.name}-title"
        )


def grid(*figures: Html) -> Html:
    """Plots side by side where there is room."""
    return element("div", *figures, class_="grid")
