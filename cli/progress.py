"""How far jobs are: what status.json and the table say, as one line, until they end."""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from functions.model.items import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.jobs import Found, Jobs
    from cli.output import Output

INTERVAL_S = 2.0
UNNOTICED_S = 120.0
UPLOADED = "UPLOADED"
"""The status of a job before it is claimed."""


def snapshot(jobs: Jobs, found: Found) -> dict[str, Any]:
    """Return a job's status.json, with what the table knows earlier."""
    found = jobs.refreshed(found)
    known: dict[str, Any] = {"job": found.id, "name": found.name, "status": UPLOADED}
    known |= {"key": found.key, **jobs.status(found)}
    if (job := found.item) is None:
        return known
    return known | {
        "status": job.status,
        "outcome": job.outcome,
        "reason": job.failure or job.cancel_reason,
        "waiting_for": known.get("waiting_for") or job.waiting_for,
        "rows_planned": job.checkpoint.row,
        "rows_rejected": job.rows_rejected,
        "bytes_planned": job.checkpoint.position.get("byte", 0),
        "size_bytes": job.size_bytes,
        "chunks": job.chunks,
        "chunks_finished": job.chunks_finished,
    }


def is_over(known: Mapping[str, Any]) -> bool:
    """Return whether a job has ended."""
    return bool(known["status"] == JobStatus.DONE)


def describe(known: Mapping[str, Any]) -> str:
    """Return how far a job is, in a line."""
    if is_over(known):
        return "; ".join(filter(None, (known.get("outcome") or "ended", known.get("reason"))))
    if known["status"] == UPLOADED:
        return "uploaded"
    parts = [
        str(known["status"]).lower(),
        f"{known['rows_planned']:,} rows read",
        f"{known['chunks_finished']:,} of {known['chunks'] or '?'} chunks finished",
    ]
    if known["rows_rejected"]:
        parts.insert(2, f"{known['rows_rejected']:,} rejected")
    if reasons := [wait["message"] for wait in known.get("waiting") or ()]:
        parts.append(reasons[0])
    elif known.get("waiting_for"):
        parts.append(f"waits for {known['waiting_for']}")
    return "; ".join(parts)


def follow(jobs: Jobs, founds: Sequence[Found], output: Output) -> list[dict[str, Any]]:
    """Show jobs until all have ended: on a terminal in place, elsewhere a line for each change.

    Returns:
        The last state of each.
    """
    in_place = output.stdout.is_terminal and not output.as_json
    live = Live(console=output.stdout, refresh_per_second=4, transient=True) if in_place else None
    shown: dict[str, str] = {}
    began = monotonic()
    with live or nullcontext():
        while True:
            states = [snapshot(jobs, found) for found in founds]
            if live is not None:
                live.update(_table(states))
            else:
                _print_changes(states, shown, output)
            if all(map(is_over, states)):
                return states
            began = _warn_if_unnoticed(states, began, output)
            sleep(INTERVAL_S)


def _print_changes(
    states: Sequence[dict[str, Any]], shown: dict[str, str], output: Output
) -> None:
    for known in states:
        line = describe(known)
        if shown.get(known["job"]) != line:
            shown[known["job"]] = line
            output.line(known, f"{known['name']}: {line}")


def _warn_if_unnoticed(states: Sequence[Mapping[str, Any]], began: float, output: Output) -> float:
    """Note once that an upload is not claimed. Return since when to count."""
    waiting = [known["name"] for known in states if known["status"] == UPLOADED]
    if not waiting or monotonic() - began < UNNOTICED_S:
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
    for known in states:
        total, done = _share(known)
        bar = ProgressBar(total=total or 1, completed=done, width=12, pulse=not total)
        grid.add_row(Text(known["name"], style="bold"), bar, describe(known))
    return grid


def _share(known: Mapping[str, Any]) -> tuple[int, int]:
    """Return what is to be done, and what is done: bytes while the upload is read, then chunks."""
    if known["status"] == JobStatus.PLANNING:
        return known["size_bytes"], known["bytes_planned"]
    return known.get("chunks") or 0, known.get("chunks_finished") or 0
