"""docs/dashboard.svg is drawn from today's definition of the dashboard, and shows what CloudWatch would."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from benchmarks.dashboard.__main__ import PICTURE
from benchmarks.dashboard.day import END, SETTINGS, STACK, Points
from benchmarks.dashboard.definition import Alarm, Definition, Metric, Widget, read_definition
from benchmarks.dashboard.drawing import draw

SVG = "{http://www.w3.org/2000/svg}"
MAX_BYTES = 60_000
LEAST_CONTRAST = {"text": 4.5, "graphics": 3.0}
"""WCAG 2.2, 1.4.3 and 1.4.11."""
PAUSED = Metric(name="Paused", resource=STACK, statistic="Maximum", period_s=300, label="paused")
ALARM = Alarm(name="paused", metric=PAUSED, threshold=0, is_below=False, is_missing_bad=False)


@pytest.fixture(scope="module")
def definition() -> Definition:
    return read_definition(**SETTINGS)


def texts(svg: str, kind: str | None = None) -> list[str]:
    elements = ET.fromstring(svg).iter(f"{SVG}text")  # noqa: S314 - ours
    return [
        element.text or "" for element in elements if kind is None or element.get("class") == kind
    ]


def test_the_picture_is_of_todays_definition(definition: Definition) -> None:
    """After a change of the dashboard or the alarms: make dashboard."""
    picture = PICTURE.read_text("utf-8")

    assert texts(picture, "title") == [widget.title for widget in definition.widgets]
    labels = {metric.label for widget in definition.widgets for metric in widget.metrics}
    limits = {f"limit {widget.limit:,.0f}" for widget in definition.widgets if widget.limit}
    alarms = {f"OK · {alarm.name}" for alarm in definition.alarms}
    assert {*texts(picture)} >= labels | limits | alarms
    assert len(definition.alarms) == 13
    assert len(picture) < MAX_BYTES


def test_each_graph_of_the_picture_shows_data(definition: Definition) -> None:
    graphs = list(ET.parse(PICTURE).getroot().iter(f"{SVG}g"))  # noqa: S314 - ours

    empty = [
        widget.title
        for widget, graph in zip(definition.widgets, graphs, strict=True)
        if widget.metrics
        and not graph.findall(f"{SVG}circle")
        and not any("line" in path.get("class", "") for path in graph.findall(f"{SVG}path"))
    ]
    assert empty == []


def test_nothing_of_the_picture_is_outside_its_widget() -> None:
    for graph in ET.parse(PICTURE).getroot().iter(f"{SVG}g"):  # noqa: S314 - ours
        card = graph.find(f"{SVG}rect[@class='card']")
        assert card is not None
        left, right = (
            float(card.attrib["x"]),
            float(card.attrib["x"]) + float(card.attrib["width"]),
        )
        for text in graph.findall(f"{SVG}text"):
            x, width = float(text.attrib["x"]), 7.0 * len(text.text or "")
            assert x - (width if text.get("text-anchor") == "end" else 0) >= left - 1, text.text
            assert x + (width if text.get("text-anchor") is None else 0) <= right, text.text


def drawn(points: Points) -> ET.Element:
    """Return the one graph of a dashboard with an alarm, filled with these values."""
    widgets = (
        Widget("Healthy?", 0, 0, 24, 3, (), 1, None),
        Widget("Paused", 0, 3, 8, 6, (PAUSED,), 1, 2.0),
    )
    svg = draw(Definition(widgets, (ALARM,)), points)
    assert svg == draw(Definition(widgets, (ALARM,)), points)
    return ET.fromstring(svg)  # noqa: S314 - ours


def values(
    *minutes_and_values: tuple[int, float],
) -> dict[tuple[str, str], list[tuple[datetime, float]]]:
    return {
        ("Paused", STACK): [
            (END - timedelta(minutes=minutes), value) for minutes, value in minutes_and_values
        ]
    }


@pytest.mark.parametrize(
    ("points", "lines", "dots"),
    [
        ({}, 0, 0),
        (values((60, 1)), 0, 1),
        (values((61, 0), (60, 1), (56, 1), (54, 0)), 1, 0),  # three periods
        (values((60, 1), (45, 1)), 0, 2),  # a gap
        (values((2_000, 1)), 0, 0),  # the day before
    ],
)
def test_neighboring_periods_are_a_line_and_a_lone_one_is_a_dot(
    points: Points, lines: int, dots: int
) -> None:
    _, graph = drawn(points).iter(f"{SVG}g")

    paths = [path for path in graph.iter(f"{SVG}path") if "line" in path.attrib["class"]]
    assert (len(paths), len([*graph.iter(f"{SVG}circle")])) == (lines, dots)


@pytest.mark.parametrize(
    ("points", "state"),
    [(values((1, 1)), "In alarm"), (values((1, 0)), "OK"), (values((30, 1)), "OK")],
)
def test_an_alarm_shows_its_state_at_the_end(points: Points, state: str) -> None:
    assert f"{state} · paused" in [text.text for text in drawn(points).iter(f"{SVG}text")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_reads_well_on_light_and_dark_pages(scheme: str) -> None:
    style = ET.parse(PICTURE).getroot().findtext(f"{SVG}style") or ""  # noqa: S314 - ours
    light, dark = style.split("@media(prefers-color-scheme:dark){")
    colors = dict(rules(light)) | (dict(rules(dark)) if scheme == "dark" else {})
    dark_names = {name for name, _ in rules(dark)}

    assert {name for name, _ in rules(light)} == dark_names
    assert contrast(colors["text fill"], colors[".card fill"]) >= LEAST_CONTRAST["text"]
    assert contrast(colors[".title fill"], colors[".card fill"]) >= LEAST_CONTRAST["text"]
    assert contrast(colors[".over fill"], colors[".card fill"]) >= LEAST_CONTRAST["text"]
    assert contrast(colors["text fill"], colors[".ok fill"]) >= LEAST_CONTRAST["text"]
    assert contrast(colors["text fill"], colors[".on fill"]) >= LEAST_CONTRAST["text"]
    for letter in "abcde":
        line = colors[f".{letter} stroke"]
        assert line == colors[f".{letter.upper()} fill"]
        assert contrast(line, colors[".card fill"]) >= LEAST_CONTRAST["graphics"]


def rules(style: str) -> Iterator[tuple[str, str]]:
    """Yield ``.card fill`` and its color for each color of a style."""
    for selector, body in re.findall(r"([.\w]+)\{([^}]*)\}", style):
        for name, color in re.findall(r"(fill|stroke):(#[0-9a-f]+)", body):
            yield f"{selector} {name}", color


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors, as WCAG defines it."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: str) -> float:
    digits = color.removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
