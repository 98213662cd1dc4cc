"""Follow jobs until they end: one line for each, from status.json and the table."""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from functions.model.items.job import JobStatus
from functions.model.nouns import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.jobs import FoundJob, Jobs
    from cli.output import Output
    from local.polling import Polling

REFRESH_S = 2.0
POLLS = 4
"""In the local cloud, how many times poll runs between two refreshes."""
UNCLAIMED_S = 120.0
UPLOADED = "UPLOADED"
"""The status of a job before it is claimed."""


def snapshot(jobs: Jobs, found_job: FoundJob) -> dict[str, Any]:
    """Return a job's status.json, with what the table knows earlier."""
    found_job = jobs.refreshed(found_job)
    state: dict[str, Any] = {"job": found_job.id, "name": found_job.name, "status": UPLOADED}
    state |= {"key": found_job.key, **jobs.status(found_job)}
    if (job := found_job.item) is None:
        return state
    return state | {
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure or job.cancel_reason,
        "waiting_for": state.get("waiting_for") or job.waiting_for,
        "rows_planned": job.checkpoint.row,
        "rows_rejected": job.rows_rejected,
        "bytes_planned": job.checkpoint.position.get("byte", 0),
        "size_bytes": job.size_bytes,
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
    }


def is_over(state: Mapping[str, Any]) -> bool:
    """Return whether a job has ended."""
    return bool(state["status"] == JobStatus.DONE)


def describe(state: Mapping[str, Any]) -> str:
    """Return the progress of a job in one line. The reason for waiting comes first, because terminals cut long lines."""
    if is_over(state):
        return "; ".join(filter(None, (state.get("outcome") or "ended", state.get("reason"))))
    if state["status"] == UPLOADED:
        return "uploaded"
    parts = [
        _reason(state) or str(state["status"]).lower(),
        f"{count_of(state['rows_planned'], 'row')} read",
        f"{state['chunks_finished']:,} of {_chunks(state['chunks'])} finished",
    ]
    if state["rows_rejected"]:
        parts.insert(2, f"{state['rows_rejected']:,} rejected")
    return "; ".join(parts)


def _reason(state: Mapping[str, Any]) -> str | None:
    if reasons := state.get("waiting"):
        return str(reasons[0]["message"])
    return f"waits for {state['waiting_for']}" if state.get("waiting_for") else None


def _chunks(count: int) -> str:
    return count_of(count, "chunk") if count else "? chunks"


def follow(jobs: Jobs, found_jobs: Sequence[FoundJob], output: Output) -> list[dict[str, Any]]:
    """Show jobs until all have ended: on a terminal in place, elsewhere a line for each change.

    Returns:
        The last state of each.
    """
    in_place = output.stdout.is_terminal and not output.as_json
    live = Live(console=output.stdout, refresh_per_second=4, transient=True) if in_place else None
    shown: dict[str, str] = {}
    began = monotonic()
    with live or nullcontext(), jobs.polling() as polling:
        while True:
            states = [snapshot(jobs, found_job) for found_job in found_jobs]
            if live is not None:
                live.update(_table(states))
            else:
                _print_changes(states, shown, output)
            if all(map(is_over, states)):
                return states
            began = _warn_if_unclaimed(states, began, output)
            _wait(polling)


def _wait(polling: Polling | None) -> None:
    if polling is None:
        sleep(REFRESH_S)
        return
    for _ in range(POLLS):
        polling.tick()
        sleep(REFRESH_S / POLLS)


def _print_changes(
    states: Sequence[dict[str, Any]], shown: dict[str, str], output: Output
) -> None:
    for state in states:
        if len(states) == 1 and is_over(state) and not output.as_json:
            continue  # the summary that follows says the same
        line = describe(state)
        if shown.get(state["job"]) != line:
            shown[state["job"]] = line
            output.line(state, f"{state['name']}: {line}")


def _warn_if_unclaimed(states: Sequence[Mapping[str, Any]], began: float, output: Output) -> float:
    """Note once that an upload is not claimed. Return when the wait began; infinity once it is noted."""
    waiting = [state["name"] for state in states if state["status"] == UPLOADED]
    if not waiting or monotonic() - began < UNCLAIMED_S:
        return began
    output.note(
        f"nothing has claimed {', '.join(waiting)} for two minutes: "
        "a copy of an earlier upload is skipped; otherwise, `relay doctor` looks for the cause"
    )
    return float("inf")


def _table(states: Sequence[Mapping[str, Any]]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(width=12)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for state in states:
        total, done = _share(state)
        bar = ProgressBar(total=total or 1, completed=done, width=12, pulse=not total)
        grid.add_row(Text(state["name"], style="bold"), bar, describe(state))
    return grid


def _share(state: Mapping[str, Any]) -> tuple[int, int]:
    """Return the total and what is done of it: bytes while the upload is read, then chunks."""
    if state["status"] == JobStatus.PLANNING:
        return state["size_bytes"], state["bytes_planned"]
    return state.get("chunks") or 0, state.get("chunks_finished") or 0
