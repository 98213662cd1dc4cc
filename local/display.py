"""Show progress: one line that moves on a terminal, a line for each change elsewhere."""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from functions.model.ids import stem_of
from functions.model.items.job import JobStatus
from functions.model.nouns import count_of
from local.started_job import RELEASABLE, StartedJob

COLUMNS = 80
NAME_COLUMNS = 20
BYTES, REQUESTS = "bytes", "requests"


class Progress(NamedTuple):
    """The progress of a job.

    Attributes:
        phase: what happens now.
        done: how much of it is done.
        total: how much there is to do; 0 if nobody knows.
        unit: what is counted.
    """

    phase: str
    done: int = 0
    total: int = 0
    unit: str = REQUESTS

    def __str__(self) -> str:
        """Format the figures for people."""
        if not self.total:
            return ""
        if self.unit == BYTES:
            return f"{decimal(self.done)} of {decimal(self.total)}"
        return f"{self.done:,} of {count_of(self.total, 'request')}"


class Display(AbstractContextManager["Display"]):
    """Shows what happens: before there are jobs by `begin`, then by `show`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()
        self._rows: list[tuple[str, Progress]] = []
        self._last_lines: dict[str, str] = {}
        self._explained: set[tuple[str, str]] = set()
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=self._render
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def stop(self) -> None:
        """End the moving line: a question to a person follows."""
        self._live.stop()

    def print_line(self, line: str) -> None:
        """Print a line above the moving one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def begin(self, phase: str) -> None:
        """Name what happens now, while there is no job."""
        self._rows = [("", Progress(phase))]
        if not self._console.is_terminal:
            self.print_line(phase)

    def show(self, jobs: Sequence[StartedJob]) -> None:
        """Show the progress of jobs."""
        self._rows = [(stem_of(job.file.name), progress_of(job)) for job in jobs]
        for job in jobs:
            self._explain(job)
        if self._console.is_terminal:
            return
        for job, (_, progress) in zip(jobs, self._rows, strict=True):
            line = f"{job.name}: {', '.join(filter(None, (progress.phase, str(progress))))}"
            if self._last_lines.get(job.id) != line:
                self._last_lines[job.id] = line
                self.print_line(line)

    def _explain(self, job: StartedJob) -> None:
        """Print once why a job waits for a person, and what to do."""
        if job.decision is None or job.is_over:
            return
        reason = (job.id, job.decision["reason"])
        if reason not in self._explained:
            self._explained.add(reason)
            for line in explanation(job, job.decision):
                self.print_line(line)

    def _render(self) -> Group:
        width = min(self._console.width, COLUMNS)
        elapsed = f"{time.monotonic() - self._started:.0f} s"
        return Group(*(line_of(name, progress, elapsed, width) for name, progress in self._rows))


def line_of(name: str, progress: Progress, elapsed: str, width: int = COLUMNS) -> Table:
    """Return one line: the name, the phase, a bar, figures, the time since the command began."""
    bar = ProgressBar(total=progress.total or 1, completed=progress.done, pulse=not progress.total)
    figures = str(progress)
    cells: list[RenderableType] = [Text(progress.phase), bar, Text(elapsed)]
    line = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    line.width = width
    if name:
        line.add_column(no_wrap=True, overflow="ellipsis", max_width=NAME_COLUMNS)
        cells.insert(0, Text(name, style="bold"))
    line.add_column(no_wrap=True, overflow="ellipsis")
    line.add_column(ratio=1, min_width=4)
    if figures:
        line.add_column(no_wrap=True)
        cells.insert(-1, Text(figures))
    line.add_column(no_wrap=True, justify="right")
    line.add_row(*cells)
    return line


def explanation(job: StartedJob, wait: Mapping[str, Any]) -> Iterator[str]:
    """Yield why a job waits for a person, and the commands with which one decides."""
    key = shlex.quote(job.key)
    yield f"{job.name} waits: {wait['message']}"
    yield f"  what to do: {wait['resolution']}"
    if wait["reason"] in RELEASABLE:
        yield f"  in another terminal: ./relay go {key}"
    yield f"  or, to end it: ./relay cancel {key}"


def progress_of(job: StartedJob) -> Progress:
    """Return the progress of a job: by bytes while it is read, then by requests."""
    if job.final_event is not None:
        return Progress(job.outcome)
    if job.waiting_event is not None:
        return Progress("waiting for options")
    if job.decision is not None:
        return Progress("waiting for a decision")
    if not job.status:
        return Progress("uploaded")
    if job.status["status"] == JobStatus.PLANNING:
        return Progress("planning", job.status["bytes_planned"], job.status["size_bytes"], BYTES)
    return _requests(job.status, job.requests_planned)


def _requests(status: Mapping[str, Any], planned: int | None) -> Progress:
    """Return how many requests are sent or answered. Until all are planned, there is one for each valid row."""
    total = status["rows_planned"] - status["rows_rejected"] if planned is None else planned
    requests: Mapping[str, int] = status["requests"]
    unsent = requests["waiting"]
    unanswered = requests["unconfirmed"] + requests["processing"]
    if unsent:
        return Progress("sending", max(total - unsent, 0), total)
    if unanswered:
        return Progress("waiting for Claude", max(total - unanswered, 0), total)
    if status["status"] == JobStatus.RUNNING:
        return Progress("collecting", total, total)
    return Progress("assembling", total, total)
