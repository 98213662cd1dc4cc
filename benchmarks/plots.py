"""Draw measurements as small SVG files; the same numbers give the same bytes."""

import importlib
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = Path(__file__).parent.parent / ".local" / "plots"
"""`make` installs matplotlib here; nothing else needs it."""
WIDTH_IN, HEIGHT_IN = 7.0, 4.0
COLORS = ("#d97757", "#3b6ea5", "#4a8c5c", "#8a6fb0", "#b5892e", "#4d4d4d")
LEGEND_COLUMNS = 4
"""Names per line of a legend; two if one is longer than `LONG_NAME_CHARS`."""
LONG_NAME_CHARS = 16
TEXT_COLOR, GRID_COLOR = "#333333", "#dddddd"
_STYLE = {
    "svg.hashsalt": "claude-batch-relay", "svg.fonttype": "none", "font.size": 9.5, "font.family": "sans-serif",
    "text.color": TEXT_COLOR, "axes.labelcolor": TEXT_COLOR, "axes.edgecolor": TEXT_COLOR, "xtick.color": TEXT_COLOR, "ytick.color": TEXT_COLOR,
    "axes.titlesize": 11, "axes.titlelocation": "left", "axes.titleweight": "bold", "axes.grid": True,
    "grid.color": GRID_COLOR, "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False,
    "legend.frameon": False, "figure.facecolor": "white", "axes.facecolor": "white",
}  # fmt: skip


def lines(  # noqa: PLR0913 - one drawing is one call; most arguments are keywords
    file: Path,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    annotations: Sequence[tuple[float, float, str]] = (),
    log: str = "",
    ticks: Mapping[float, str] | None = None,
    dashed: Collection[str] = (),
) -> None:
    """Draw one line per series, with a legend for several.

    Args:
        file: the SVG or PNG file to write.
        series: points by name.
        title: the title.
        x_label: the horizontal axis, with its unit.
        y_label: the vertical axis, with its unit.
        annotations: points with a label: x, y, text.
        log: the axes that are logarithmic: ``"x"``, ``"y"``, ``"xy"``.
        ticks: labels of the horizontal axis by position; numbers by default.
        dashed: the series to draw dashed.
    """
    with _axes(file, title) as axes:
        for number, (name, points) in enumerate(series.items()):
            style = "--" if name in dashed else "-"
            color = COLORS[number % len(COLORS)]
            axes.plot(*zip(*points, strict=True), style, label=name, color=color, linewidth=2)
        for x, y, text in annotations:
            axes.plot([x], [y], "o", color=TEXT_COLOR, markersize=5)
            axes.annotate(text, (x, y), xytext=(6, 6), textcoords="offset points")
        axes.set(xlabel=x_label, ylabel=y_label)
        _set_scale(axes, log, ticks)
        if len(series) > 1:
            axes.figure.legend(loc="outside lower center", ncols=_legend_columns(series))


def bars(
    file: Path,
    amounts: Mapping[str, float],
    *,
    title: str,
    x_label: str,
    number_format: str = "{:.2f}",
    highlighted: Collection[str] = (),
) -> None:
    """Draw one labeled bar per amount, the first one on top.

    Args:
        file: the file to write.
        amounts: the amounts by name.
        title: the title.
        x_label: what the amounts are, with their unit.
        number_format: the format of the numbers, for `str.format`.
        highlighted: the names that are drawn in another color.
    """
    with _axes(file, title) as axes:
        names, widths = [*amounts][::-1], [*amounts.values()][::-1]
        colors = [COLORS[0] if name in highlighted else COLORS[1] for name in names]
        bars_drawn = axes.barh(names, widths, color=colors, height=0.65)
        axes.bar_label(bars_drawn, [number_format.format(width) for width in widths], padding=4)
        axes.set(xlabel=x_label, xlim=(0, max(widths) * 1.12))
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)


def _legend_columns(names: Collection[str]) -> int:
    """Return how many names of a legend fit into one line."""
    return 2 if max(map(len, names)) > LONG_NAME_CHARS else LEGEND_COLUMNS


@contextmanager
def _axes(file: Path, title: str) -> "Iterator[Any]":
    """Yield empty axes, and save the figure at exit."""
    if str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
    matplotlib, figures = (
        importlib.import_module(name) for name in ("matplotlib", "matplotlib.figure")
    )
    with matplotlib.rc_context(_STYLE):
        figure = figures.Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        yield axes
        file.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if file.suffix == ".svg" else {}
        figure.savefig(file, metadata=metadata, dpi=110)


def _set_scale(axes: Any, log: str, ticks: Mapping[float, str] | None) -> None:  # noqa: ANN401 - matplotlib's
    """Make axes logarithmic, with plain numbers."""
    ticker = importlib.import_module("matplotlib.ticker")
    plain = ticker.FuncFormatter(lambda value, _: f"{value:,.10g}")
    for name in log:
        axes.set(**{f"{name}scale": "log"})
        axis = getattr(axes, f"{name}axis")
        axis.set_major_formatter(plain)
        axis.set_minor_formatter(ticker.NullFormatter())
    if ticks is not None:
        axes.set_xticks([*ticks], [*ticks.values()])
        axes.minorticks_off()
