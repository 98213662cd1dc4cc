"""Print for people or for programs: tables and sentences, or JSON. Notes and progress go to stderr."""

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

_UNLIMITED = 10_000
"""The width where stdout is not a terminal, in characters: programs need whole lines."""
_TRAILING_BLANKS = re.compile(r" +$", re.MULTILINE)


def _stdout() -> Console:
    # Rich omits colors where stdout is not a terminal, and wherever NO_COLOR is set.
    is_cut = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, width=None if is_cut else _UNLIMITED)


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


@dataclass(frozen=True)
class Output:
    """Where a command prints.

    Attributes:
        as_json: whether stdout is JSON, for programs.
    """

    as_json: bool = False
    stdout: Console = field(default_factory=_stdout)
    stderr: Console = field(default_factory=_stderr)

    def show(self, data: Any, *for_people: RenderableType) -> None:  # noqa: ANN401 - any JSON
        """Print the result of a command: `data` as JSON, or what is for people."""
        if self.as_json:
            self._print_json(msgspec.json.format(msgspec.json.encode(data), indent=2))
            return
        for renderable in for_people:
            with self.stdout.capture() as capture:
                self.stdout.print(renderable)
            sys.stdout.write(_TRAILING_BLANKS.sub("", capture.get()))
        sys.stdout.flush()

    @property
    def drawing_width(self) -> int:
        """The width of drawings: that of the terminal, elsewhere 80 characters."""
        width = self.stdout.width
        return width if width < _UNLIMITED else shutil.get_terminal_size().columns

    def line(self, data: Any, text: str) -> None:  # noqa: ANN401 - any JSON
        """Print one of many results immediately: a line of JSON, or a line for people."""
        if self.as_json:
            self._print_json(msgspec.json.encode(data))
            return
        self.stdout.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print what is not the result: to stderr."""
        with suppress(BrokenPipeError):
            self.stderr.print(text)

    def progress(self) -> Progress:
        """Return a display of bytes that moves on a terminal and is silent elsewhere."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=self.stderr,
            transient=True,
            disable=not self.stderr.is_terminal,
        )

    def _print_json(self, encoded: bytes) -> None:
        sys.stdout.write(encoded.decode() + "\n")
        sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str | RenderableType]]) -> Table:
    """Build a table without lines; numbers are aligned by the caller. If it is too wide, the last column is cut."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns[:-1]:
        grid.add_column(name, no_wrap=True)
    grid.add_column(columns[-1], overflow="ellipsis")
    for row in rows:
        grid.add_row(*row)
    return grid


def name_value_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Build two columns, of names and values."""
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def dollars(usd: float | Decimal | None, digits: int = 2) -> str:
    """Return an amount with this many decimal places, or ``< $0.01`` if it would be rounded to zero."""
    if usd is None:
        return "unknown"
    if usd and not round(usd, digits):
        return f"< ${10**-digits:.{digits}f}"
    return f"${usd:,.{digits}f}"


def age(duration: timedelta) -> str:
    """Return a duration in its largest whole unit: ``3 h``."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:,} {unit}"
    return f"{seconds} s"
