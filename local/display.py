"""Show progress: a live table on a terminal, plain lines elsewhere."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from local.job import Job


class Display(AbstractContextManager["Display"]):
    """Shows the progress of jobs; a line is printed only when it has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=True)
        self._last_lines: dict[str, str] = {}

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

    def print_line(self, line: str) -> None:
        """Print a line above the live table."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, jobs: Sequence[Job]) -> None:
        """Show the status of jobs."""
        if self._console.is_terminal:
            self._live.update(Group(_table(jobs)))
            return
        for job in jobs:
            line = f"{job.name}: {describe_status(job)}"
            if self._last_lines.get(job.id) != line:
                self._last_lines[job.id] = line
                self.print_line(line)


def describe_status(job: Job) -> str:
    """Describe the status of a job in one line."""
    if job.final_event is not None:
        return job.outcome
    if job.waiting_event is not None:
        return "waiting for options"
    if not job.status:
        return "uploaded"
    status = job.status
    parts = (
        str(status["status"]).lower(),
        f"{status['rows_planned']:,} rows read, {status['rows_rejected']:,} rejected",
        f"{status['chunks_finished']} of {status['chunks'] or '?'} chunks finished",
        *_batches(status),
    )
    return "; ".join(parts)


def _batches(status: Mapping[str, Any]) -> list[str]:
    """Describe the open batches by status; empty without any."""
    counts = status.get("batches") or {}
    parts = [f"{count} {name.lower().replace('_', ' ')}" for name, count in counts.items()]
    return [f"batches: {', '.join(parts)}"] if parts else []


def _table(jobs: Sequence[Job]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for job in jobs:
        chunks, finished = job.status.get("chunks") or 0, job.status.get("chunks_finished", 0)
        bar = ProgressBar(total=chunks or 1, completed=finished, width=30, pulse=not chunks)
        table.add_row(Text(job.name, style="bold"), bar, Text(describe_status(job)))
    return table


def pretty(event: Mapping[str, Any]) -> str:
    """Format an event for people."""
    return json.dumps(event, indent=2, ensure_ascii=False)
