"""Draw the dashboard as one SVG, for light and dark pages; the same figures give the same bytes."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape

from benchmarks.dashboard.day import END, Points
from benchmarks.dashboard.definition import Alarm, Definition, Metric, Widget
from benchmarks.dashboard.statistics import data_points, is_raised

COLUMN_PX, ROW_PX, GAP_PX, PADDING_PX = 44, 36, 8, 12
TITLE_PX, TOP_PX, BOTTOM_PX, LEFT_PX = 17, 42, 54, 52
"""The title's height; and the margins around a graph's lines, inside its widget."""
CHAR_PX, SWATCH_PX = 6.6, 28
_ALARM_COLUMNS, _MOST_STEPS = 5, 4
_STYLE = """\
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:#414d5c}
.page{fill:#f2f3f3}.card{fill:#fff;stroke:#d5dbdb}.title{font-weight:600;font-size:13px;fill:#16191f}
.grid{stroke:#e3e7e8}.axis{stroke:#aab7b8}.limit{stroke:#c7254e;stroke-dasharray:5 4}.over{fill:#c7254e}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}
.ok{fill:#e9f5ec;stroke:#7fc08f}.on{fill:#fdecea;stroke:#d13212}
.a{stroke:#2f6fb7}.b{stroke:#d9730d}.c{stroke:#2e8540}.d{stroke:#c02b2b}.e{stroke:#7d4fb3}
.A{fill:#2f6fb7}.B{fill:#d9730d}.C{fill:#2e8540}.D{fill:#c02b2b}.E{fill:#7d4fb3}
@media(prefers-color-scheme:dark){
text{fill:#b6bec9}.page{fill:#0f1b2a}.card{fill:#192534;stroke:#414d5c}.title{fill:#eaeded}
.grid{stroke:#2e3b4b}.axis{stroke:#5f6b7a}.limit{stroke:#ff7a95}.over{fill:#ff7a95}
.ok{fill:#12352a;stroke:#3f8f68}.on{fill:#4a1a1a;stroke:#ff7a7a}
.a{stroke:#6fa8ec}.b{stroke:#f5a45b}.c{stroke:#67c587}.d{stroke:#ff8080}.e{stroke:#bd94f0}
.A{fill:#6fa8ec}.B{fill:#f5a45b}.C{fill:#67c587}.D{fill:#ff8080}.E{fill:#bd94f0}}"""
_COLORS = "abcde"


@dataclass(frozen=True)
class _Frame:
    """Where the lines of a graph go, in pixels, and what its axes span."""

    left: float
    top: float
    width: float
    height: float
    begin: datetime
    end: datetime
    most: float

    def x(self, time: datetime) -> float:
        return self.left + self.width * ((time - self.begin) / (self.end - self.begin))

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / self.most)


def draw(definition: Definition, points: Points) -> str:
    """Return the picture as SVG."""
    width = 24 * COLUMN_PX + GAP_PX
    height = max(widget.y + widget.height for widget in definition.widgets) * ROW_PX + GAP_PX
    about = "The CloudWatch dashboard of a stack, on a made-up day"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{about}">',
        f"<title>{about}</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="6"/>',
    ]
    for widget in definition.widgets:
        parts += _widget(widget, definition.alarms, points)
    return "\n".join([*parts, "</svg>\n"])


def _widget(widget: Widget, alarms: Sequence[Alarm], points: Points) -> Iterator[str]:
    left, top = widget.x * COLUMN_PX + GAP_PX, widget.y * ROW_PX + GAP_PX
    width, height = widget.width * COLUMN_PX - GAP_PX, widget.height * ROW_PX - GAP_PX
    yield f'<g><rect class="card" x="{left}" y="{top}" width="{width}" height="{height}" rx="4"/>'
    yield _text(left + PADDING_PX, top + TITLE_PX + 5, widget.title, "title")
    if widget.metrics:
        yield from _graph(widget, points, left, top, width, height)
    else:
        yield from _alarms(alarms, points, left, top, width, height)
    yield "</g>"


def _alarms(
    alarms: Sequence[Alarm], points: Points, left: float, top: float, width: float, height: float
) -> Iterator[str]:
    rows = math.ceil(len(alarms) / _ALARM_COLUMNS)
    column = (width - 2 * PADDING_PX + GAP_PX) / _ALARM_COLUMNS
    row = (height - TITLE_PX - 20) / rows
    for number, alarm in enumerate(alarms):
        x = left + PADDING_PX + number % _ALARM_COLUMNS * column
        y = top + TITLE_PX + 14 + number // _ALARM_COLUMNS * row
        state = "on" if is_raised(points, alarm, END) else "ok"
        yield (
            f'<rect class="{state}" x="{x:g}" y="{y:g}" width="{column - GAP_PX:g}" height="{row - 4:g}" rx="3"/>'
        )
        word = "In alarm" if state == "on" else "OK"
        yield _text(x + 8, y + row / 2 + 2, f"{word} · {alarm.name}")


def _graph(
    widget: Widget, points: Points, left: float, top: float, width: float, height: float
) -> Iterator[str]:
    begin = END - timedelta(days=widget.days)
    series = [data_points(points, metric, begin, END) for metric in widget.metrics]
    values = [value for data in series for _, value in data]
    ticks = _ticks(max([*values, widget.limit or 0.0]))
    frame = _Frame(
        left=left + LEFT_PX,
        top=top + TOP_PX,
        width=width - LEFT_PX - PADDING_PX,
        height=height - TOP_PX - BOTTOM_PX,
        begin=begin,
        end=END,
        most=ticks[-1],
    )
    yield from _axes(frame, ticks)
    if widget.limit is not None:
        y = frame.y(widget.limit)
        yield f'<path class="limit" d="M{frame.left:g} {y:.1f}h{frame.width:g}"/>'
        label = f"limit {widget.limit:,.0f}"
        yield _text(frame.left + frame.width, y - 4, label, "over", anchor="end")
    for color, metric, data in zip(_COLORS, widget.metrics, series, strict=False):
        yield from _line(frame, metric, data, color)
    yield from _legend(frame, widget.metrics)


def _axes(frame: _Frame, ticks: Sequence[float]) -> Iterator[str]:
    for tick in ticks:
        kind = "axis" if tick == 0 else "grid"
        yield f'<path class="{kind}" d="M{frame.left:g} {frame.y(tick):.1f}h{frame.width:g}"/>'
        yield _text(frame.left - 6, frame.y(tick) + 4, f"{tick:,g}", anchor="end")
    days = (frame.end - frame.begin).days
    step = timedelta(hours=6) if days == 1 else timedelta(days=3)
    time = frame.begin
    while time < frame.end:
        word = f"{time:%H:%M}" if days == 1 else f"{time:%b} {time.day}"
        yield _text(frame.x(time), frame.top + frame.height + 16, word, anchor="middle")
        time += step


def _line(
    frame: _Frame, metric: Metric, data: Sequence[tuple[datetime, float]], color: str
) -> Iterator[str]:
    """Draw neighbors as a line, and a lone period as a dot, as CloudWatch does."""
    for run in _runs(data, metric.period_s):
        places = [(frame.x(time), frame.y(value)) for time, value in run]
        if len(places) == 1:
            ((x, y),) = places
            yield f'<circle class="{color.upper()}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        else:
            path = "L".join(f"{x:.1f} {y:.1f}" for x, y in _corners(places))
            yield f'<path class="line {color}" d="M{path}"/>'


def _runs(
    data: Sequence[tuple[datetime, float]], period_s: int
) -> Iterator[list[tuple[datetime, float]]]:
    run: list[tuple[datetime, float]] = []
    for time, value in data:
        if run and (time - run[-1][0]).total_seconds() > period_s:
            yield run
            run = []
        run.append((time, value))
    if run:
        yield run


def _corners(places: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Leave out points between equal neighbors."""
    for number, (x, y) in enumerate(places):
        neighbors = {place[1] for place in places[max(number - 1, 0) : number + 2]}
        if number in {0, len(places) - 1} or neighbors != {y}:
            yield x, y


def _legend(frame: _Frame, metrics: Sequence[Metric]) -> Iterator[str]:
    x, y = frame.left, frame.top + frame.height + 38
    for color, metric in zip(_COLORS, metrics, strict=False):
        yield f'<rect class="{color.upper()}" x="{x:g}" y="{y - 9:g}" width="10" height="10" rx="2"/>'
        yield _text(x + 15, y, metric.label)
        x += SWATCH_PX + CHAR_PX * len(metric.label)


def _ticks(most: float) -> list[float]:
    """Return round numbers from 0 to at least `most`: at most `_MOST_STEPS` steps and one."""
    if most <= 0:
        return [0.0, 1.0]
    unit = 10 ** math.floor(math.log10(most))
    step = next(
        s for s in (unit / 5, unit / 2, unit, unit * 2, unit * 5) if most / s <= _MOST_STEPS
    )
    return [step * number for number in range(math.ceil(most / step) + 1)]


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "") -> str:
    attributes = (f' class="{kind}"' if kind else "") + (
        f' text-anchor="{anchor}"' if anchor else ""
    )
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(text, quote=False)}</text>'
