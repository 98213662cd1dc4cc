"""Charts of the report: inline SVG without text, whose widths are shares, so that they fit any screen."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from functions.report.html import Html, element, joined

OUTCOMES = ("succeeded", "errored", "expired", "canceled", "rejected")
"""The usual outcomes, in the order of every chart."""
MAX_BARS_HEIGHT, MAX_BAR, MIN_BAR = 480, 14, 3
"""Heights of the bars of the timeline, in pixels."""
MIN_SHARE = 0.012
"""The least width of a bar that is not 0, so that it can be seen."""


class Span(NamedTuple):
    """A bar of a timeline: its begin and end as shares of the whole, its class, and its description."""

    begin: float
    end: float
    kind: str
    title: str


def by_outcome(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the counts above zero in the order of the charts. Outcomes that are new come last."""
    order = [*OUTCOMES, *sorted(counts.keys() - set(OUTCOMES))]
    return [(name, counts[name]) for name in order if counts.get(name)]


def outcome_class(name: str) -> str:
    """Return the CSS class of an outcome."""
    return name if name in OUTCOMES else "other"


def stacked_bar(parts: Sequence[tuple[str, float]], label: str) -> Html:
    """Return one bar of several parts: CSS class and size of each."""
    whole = sum(size for _, size in parts) or 1.0
    begins = accumulate((size for _, size in parts), initial=0.0)
    rects = [
        element("rect", x=_share(begin / whole), width=_share(size / whole), height="100%", class_=kind)
        for begin, (kind, size) in zip(begins, parts, strict=False)
    ]  # fmt: skip
    return _svg("stack", 16, label, rects)


def bar(share: float) -> Html:
    """Return the bar of a line in a table. Its number is in the next cell, so it needs no label."""
    width = _share(max(share, MIN_SHARE) if share else 0.0)
    rect = element("rect", width=width, height="100%", class_="accent")
    return element("svg", rect, class_="bar", height="10", width="100%", aria_hidden="true")


def bar_table(
    head: str, rows: Iterable[tuple[str, int]], caption: str, *, counted: str = "Rows"
) -> Html:
    """Return a table of names and counts with a bar for each; `counted` says what is counted."""
    rows = [*rows]
    most = max((count for _, count in rows), default=0) or 1
    lines = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", bar(count / most), class_="bars"),
            element("td", f"{count:,}", class_="number"),
        )
        for name, count in rows
    ]
    heads = (
        element("th", head, scope="col"),
        element("td"),
        element("th", counted, scope="col", class_="number"),
    )
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *heads)),
        element("tbody", *lines),
        class_="counts",
    )  # fmt: skip


def columns(bins: Sequence[Mapping[str, int]], label: str) -> Html:
    """Return stacked columns, one for each bin of outcomes."""
    most = max((sum(counts.values()) for counts in bins), default=0) or 1
    width = 1 / max(len(bins), 1)
    rects: list[Html] = []
    for number, counts in enumerate(bins):
        filled = 0
        for name, count in by_outcome(counts):
            filled += count
            rects.append(
                element(
                    "rect",
                    element("title", f"{count:,} {name}"),
                    x=_share(number * width + width * 0.1),
                    width=_share(width * 0.8),
                    y=_share(1 - filled / most),
                    height=_share(count / most),
                    class_=outcome_class(name),
                )
            )
    return _svg("columns", 140, label, rects)


def timeline(spans: Sequence[Span], label: str) -> Html:
    """Return a bar for each span, one below the other."""
    step = max(MIN_BAR, min(MAX_BAR, MAX_BARS_HEIGHT // max(len(spans), 1)))
    rects = [
        element(
            "rect",
            element("title", span.title),
            x=_share(span.begin),
            width=_share(max(span.end - span.begin, 0.004)),
            y=number * step,
            height=max(step - (3 if step > 2 * MIN_BAR else 1), 1),
            class_=span.kind,
        )
        for number, span in enumerate(spans)
    ]
    return _svg("timeline", max(step * len(spans), 1), label, rects)


def _svg(kind: str, height: int, label: str, content: Iterable[Html]) -> Html:
    return element(
        "svg", *content, class_=kind, role="img", aria_label=label, width="100%", height=height
    )


def _share(share: float) -> str:
    return f"{max(0.0, min(share, 1.0)) * 100:.2f}%"


def legend(counts: Sequence[tuple[str, int]]) -> Html:
    """Return the names of the outcomes with their colors, counts and shares."""
    whole = sum(count for _, count in counts) or 1
    items = [
        element(
            "li",
            dot(name),
            joined(name, " "),
            element("b", f"{count:,}"),
            element("span", f" {_percent(count, whole)}", class_="muted"),
        )
        for name, count in counts
    ]
    return element("ul", *items, class_="legend")


def dot(name: str) -> Html:
    """Return a dot in the color of an outcome."""
    return element("span", class_=f"dot {outcome_class(name)}", aria_hidden="true")


def _percent(count: int, whole: int) -> str:
    share = 100 * count / whole
    if count < whole and share > 99.9:  # noqa: PLR2004 - not 100 % before it is all
        return "> 99.9 %"
    return f"{share:.1f} %" if share >= 0.1 or not count else "< 0.1 %"  # noqa: PLR2004
