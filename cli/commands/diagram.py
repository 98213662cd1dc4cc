"""`relay diagram`: draw the batches of a job on a timeline, as text."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime

import typer
from rich.text import Text

from cli import invocation
from cli.invocation import JobName
from cli.jobs import Jobs
from cli.timeline import COLLECTING, RUNNING, SENDING, WAITING, Bar, Timeline, timeline
from functions.model import timestamps

_STYLES = {rf"\{WAITING}+": "dim", f"{SENDING}+": "yellow", f"{RUNNING}+": "green", f"{COLLECTING}+": "cyan"}  # fmt: skip
_LEGEND = f"{WAITING} waits  {SENDING} is sent  {RUNNING} at Anthropic  {COLLECTING} is collected"
_NAME, _REQUESTS, _STATUS = 10, 8, 13
"""Widths of the columns, in characters."""
_MIN_WIDTH = 20


def diagram(context: typer.Context, job: JobName) -> None:
    """Draw the batches of a job on a timeline."""
    run = invocation.of(context)
    jobs = Jobs(run.deployment)
    found_job = jobs.find(job)
    drawn = timeline(jobs, found_job, datetime.now(UTC))
    width = max(run.output.drawing_width - _NAME - _REQUESTS - _STATUS, _MIN_WIDTH)
    data = {
        "job": found_job.id,
        "begin": drawn.begin,
        "end": drawn.end,
        "batches": [asdict(bar) for bar in drawn.bars],
    }
    run.output.show(data, *_lines(drawn, width))


def _lines(drawn: Timeline, width: int) -> Iterator[Text]:
    begin, end = timestamps.text(drawn.begin)[:16], timestamps.text(drawn.end)[:16]
    head = f"{'batch':<{_NAME}}{'requests':>{_REQUESTS}} {'status':<{_STATUS - 1}}"
    yield Text(f"{head}{begin}Z{f'{end}Z':>{width - len(begin) - 1}}", style="bold", no_wrap=True)
    for bar in drawn.bars:
        yield _line(bar, drawn, width)
    yield Text(_LEGEND, style="dim")


def _line(bar: Bar, drawn: Timeline, width: int) -> Text:
    picture = Text(drawn.line(bar, width))
    for pattern, style in _STYLES.items():
        picture.highlight_regex(pattern, style)
    facts = f"{bar.name:<{_NAME}}{bar.requests:>{_REQUESTS},} {bar.status:<{_STATUS - 1}}"
    return Text.assemble(facts, picture, no_wrap=True)
