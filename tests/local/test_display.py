"""What the demo shows while it runs."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from local.display import COLUMNS, Display, Progress, line_of, progress_of
from local.started_job import StartedJob

REQUESTS = {
    "waiting": 0, "unconfirmed": 0, "processing": 0,
    "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0,
}  # fmt: skip


def job_with(requests: dict[str, int] | None = None, **status: object) -> StartedJob:
    known: dict[str, Any] = {
        "status": "RUNNING",
        "rows_planned": 41,
        "rows_rejected": 4,
        "bytes_planned": 500,
        "size_bytes": 10_000,
        "requests": REQUESTS | (requests or {}),
    }
    return StartedJob(
        file=Path("questions.jsonl"), key="in/q", id="3f9a", folder="f", status=known | status
    )


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (job_with(status="PLANNING"), "planning, 500 bytes of 10.0 kB"),
        (job_with({"waiting": 30, "processing": 7}), "sending, 7 of 37 requests"),
        (job_with({"unconfirmed": 5, "processing": 7}), "waiting for Claude, 25 of 37 requests"),
        (job_with({"succeeded": 37}), "collecting, 37 of 37 requests"),
        (
            job_with(status="PLANNING", waiting=[{"reason": "budget"}]),
            "waiting for a decision, ",
        ),
        (job_with(status="ASSEMBLING"), "assembling, 37 of 37 requests"),
    ],
)
def test_the_phase_of_a_job_is_named_with_its_figures(job: StartedJob, expected: str) -> None:
    progress = progress_of(job)

    assert f"{progress.phase}, {progress}" == expected


@pytest.mark.parametrize(
    ("name", "progress"),
    [
        ("", Progress("preparing the bundle")),
        ("questions", Progress("planning", 1_234_567, 98_765_432, "bytes")),
        (
            "a-very-long-name-of-a-file-of-prompts",
            Progress("waiting for Claude", 999_999, 3_000_000),
        ),
    ],
)
def test_progress_is_one_line_of_80_columns(name: str, progress: Progress) -> None:
    console = Console(width=COLUMNS, file=io.StringIO(), color_system=None)

    with console.capture() as captured:
        console.print(line_of(name, progress, "1234 s"))

    [line] = captured.get().splitlines()
    assert len(line) <= COLUMNS
    assert str(progress) in line
    assert progress.phase in line


def test_a_terminal_shows_the_phase_before_there_is_a_job() -> None:
    screen = io.StringIO()

    with Display(Console(file=screen, force_terminal=True, width=COLUMNS)) as display:
        display.begin("starting the emulator")

    assert "starting the emulator" in screen.getvalue()


@pytest.mark.parametrize(
    ("reason", "can_go"),
    [
        ("budget", True), ("price", True), ("go", True),
        ("template", False), ("models", False), ("valid_options", False),
    ],
)  # fmt: skip
def test_why_a_job_waits_for_a_person_is_printed_once(reason: str, *, can_go: bool) -> None:
    screen = io.StringIO()
    wait = {"reason": reason, "message": "it may cost too much", "resolution": "decide"}
    job = job_with(status="PLANNING", waiting=[wait])

    with Display(Console(file=screen, width=COLUMNS)) as display:
        display.show([job])
        display.show([job])

    printed = screen.getvalue()
    assert printed.count("questions-3f9a waits: it may cost too much\n  what to do: decide\n") == 1
    assert ("./relay go in/q\n" in printed) is can_go
    assert "./relay cancel in/q\n" in printed
