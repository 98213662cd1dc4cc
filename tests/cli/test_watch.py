"""`relay watch` and `relay why` show what a job waits for, and how it has ended."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from cli import progress
from cli.jobs import Jobs
from functions.model.ids import job_id
from tests.cli.conftest import KEY, REJECTED, CommandLine, deliver, finished, running
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_watch_prints_a_line_for_each_change_until_the_end(
    stack: Harness, relay: CommandLine
) -> None:
    stack.upload(KEY, make_upload(3))

    states = relay.json_lines("watch", KEY)

    assert states[0]["status"] == "RUNNING"
    assert (states[-1]["status"], states[-1]["outcome"]) == ("DONE", "succeeded")


def test_in_the_local_cloud_watch_runs_poll_instead_of_waiting_for_its_schedule(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.progress.sleep", lambda _seconds: None)
    stack.upload(KEY, make_upload(3))
    local = replace(relay.deployment, polling=lambda: nullcontext(stack))  # type: ignore[arg-type]

    assert CommandLine(local).json_lines("watch", KEY)[-1]["outcome"] == "succeeded"


def test_a_line_of_watch_begins_with_what_the_job_waits_for(
    stack: Harness, relay: CommandLine
) -> None:
    """A terminal cuts the end of the line."""
    job = running(stack)
    jobs = Jobs(relay.deployment)

    state = progress.snapshot(jobs, jobs.find(job))

    assert progress.describe(state) == (
        f"{state['waiting'][0]['message']}; 3 rows read; 0 of 1 chunk finished"
    )


def test_watch_fails_unless_all_rows_succeeded(stack: Harness, relay: CommandLine) -> None:
    stack.upload(KEY, make_row(1) + b"\n" + REJECTED)

    result = relay("watch", KEY, code=1)

    assert "partial" in result.stdout
    assert "1 succeeded" in result.stdout
    assert "$" in result.stdout


def test_watch_takes_a_file_as_it_was_sent(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "march.jsonl"
    file.write_bytes(make_upload(2))
    stack.upload("march.jsonl", file.read_bytes())

    assert relay.json_lines("watch", str(file))[-1]["outcome"] == "succeeded"


def test_an_upload_is_found_by_its_key_before_it_is_claimed(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = stack.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=make_upload(2))["VersionId"]
    waits: list[Callable[[], object]] = [lambda: deliver(stack, KEY)]
    monkeypatch.setattr(
        "cli.progress.sleep", lambda _seconds: waits.pop()() if waits else stack.tick()
    )

    assert "a new upload becomes a job within seconds" in relay("why", KEY).stdout
    assert "is not claimed yet" in relay("cancel", KEY, code=3).stderr
    states = relay.json_lines("watch", KEY)

    assert {state["job"] for state in states} == {job_id(UPLOADS, KEY, version)}
    assert (states[0]["status"], states[-1]["outcome"]) == ("UPLOADED", "succeeded")


@pytest.mark.parametrize("is_new", [True, False])
def test_a_new_version_counts_before_it_is_claimed_but_not_forever(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch, *, is_new: bool
) -> None:
    """`relay watch KEY` after `relay send` must not show the job before; but a copy of an upload is skipped."""
    ended = finished(stack)
    stack.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=make_upload(2))
    monkeypatch.setattr("cli.jobs.CLAIM_TIME", timedelta.max if is_new else timedelta(0))

    found = relay.json("why", KEY)

    assert (found["status"] == "UPLOADED", found["job"] != ended) == (is_new, is_new)


def test_a_new_version_that_has_ended_already_is_claimed(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = running(stack)
    stack.upload(KEY, b"\n")
    for _ in range(3):
        stack.tick()
    assert [job.job for job in stack.items.unfinished().jobs] == [earlier]
    monkeypatch.setattr("cli.jobs.CLAIM_TIME", timedelta.max)

    assert "has ended (failed)" in relay("cancel", KEY, code=2).stderr


def test_an_upload_that_may_not_be_read_is_not_found_before_it_is_claimed(
    stack: Harness, relay: CommandLine
) -> None:
    stack.s3.put_object(Bucket=UPLOADS, Key=KEY, Body=make_upload(2))
    with reject_requests(stack.s3, "HeadObject", S3ErrorResponse(403, "403")):
        result = relay("why", KEY, code=3)

    assert "an upload becomes a job within seconds" in result.stderr


def test_why_has_the_words_of_status_json(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)
    wait = {
        "reason": "room", "since": "2026-11-27T10:00:00.000Z", "message": "batches wait for room",
        "until": None, "resolution": "raise openBatches", "a later member": 1,
    }  # fmt: skip
    status = json.loads(stack.read(KEY, "status.json"))
    document = json.dumps(status | {"waiting": [wait], "another": 1}).encode()
    stack.s3.put_object(Bucket=RESULTS, Key=f"results/team/march/{job}/status.json", Body=document)

    assert relay.json("why", job)["waiting"] == [wait]
    text = relay("why", job).stdout
    assert "batches wait for room" in text
    assert "raise openBatches" in text


def test_why_reads_the_table_where_status_json_names_no_reasons(
    stack: Harness, relay: CommandLine
) -> None:
    """As a version wrote it that did not have them."""
    job = running(stack)
    status = json.loads(stack.read(KEY, "status.json"))
    status.pop("waiting", None)
    stack.s3.put_object(
        Bucket=RESULTS,
        Key=f"results/team/march/{job}/status.json",
        Body=json.dumps(status).encode(),
    )
    [reason] = relay.json("why", job)["waiting"]

    assert reason["message"] == "Anthropic works on 1 batch with 3 requests"


def test_why_says_how_a_job_has_ended(stack: Harness, relay: CommandLine) -> None:
    finished(stack, body=REJECTED)

    assert "failed; none of the 1 rows can be sent" in relay("why", KEY).stdout
