"""Print for people or for programs: tables and sentences, or JSON. Notes and progress go to stderr."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table


def _stdout() -> Console:
    # Rich omits colors where stdout is no terminal, and wherever NO_COLOR is set.
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


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
            self.stdout.print(renderable)

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
    """Build a table without lines; numbers are aligned by the caller."""
    grid = Table(*columns, box=None, pad_edge=False, header_style="bold")
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


def age(duration: timedelta) -> str:
    """Return a duration in its largest whole unit: ``3 h``."""
    seconds = max(int(duration.total_seconds()), 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:,} {unit}"
    return f"{seconds} s"
