"""Somebody deletes work files of chunks that are paid for: their results are fetched again while Anthropic has them.

After that the job ends, and every other chunk is delivered.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from functions.errors import ObjectNotFoundError
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import Job
from functions.model.multipart_plan import MIN_PART_BYTES
from tests.harness import (
    RESULTS,
    Harness,
    every_row_accepted_once,
    make_row,
    make_upload,
    open_harness,
)

KEY, TABLE_KEY = "in/march.jsonl", "in/march.csv"
BOM = b"\xef\xbb\xbf"
DAY_S = 24 * 3600.0


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    with open_harness(tmp_path) as made:
        made.deploy(requests_per_batch=2)
        yield made


def assembling(relay: Harness, body: bytes, key: str = KEY) -> tuple[Job, list[Batch]]:
    """Upload, and run the job until its chunks are collected and nothing is joined yet."""
    relay.context.left_s = 200.0  # too little to assemble immediately
    relay.upload(key, body)
    for _ in range(40):
        relay.tick()
        for job in relay.items.unfinished().jobs:
            if job.status == "ASSEMBLING":
                return job, relay.items.batches(job.job)
    raise AssertionError(relay.items.unfinished())


def delete(relay: Harness, *keys: str) -> None:
    for key in keys:
        relay.s3.delete_object(Bucket=RESULTS, Key=key)


def run(relay: Harness, days: float) -> None:
    """Let days pass, six hours at a time."""
    for _ in range(int(days * 4)):
        with suppress(ObjectNotFoundError):
            relay.tick(DAY_S / 4)


def ends(relay: Harness) -> list[tuple[int, str]]:
    return [(line["row"], line["result"]["type"]) for line in relay.lines(KEY)]


def test_results_that_anthropic_still_has_are_fetched_again(relay: Harness) -> None:
    _, batches = assembling(relay, make_upload(6))
    for batch in batches[:2]:
        assert batch.part is not None
        delete(relay, batch.part.results.key)

    run(relay, 1)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 6}
    assert ends(relay) == [(row, "succeeded") for row in range(1, 7)]
    assert all("problem" not in entry for entry in relay.manifest(KEY)["batches"])
    types = [event["type"] for event in relay.events()]
    assert (types.count("batch.stuck"), types.count("job.completed")) == (0, 1)
    assert every_row_accepted_once(relay)


def test_results_of_a_later_attempt_are_fetched_again_and_merged(relay: Harness) -> None:
    _, batches = assembling(relay, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
    assert batches[1].part is not None
    delete(relay, batches[1].part.results.key)

    run(relay, 1)

    assert ends(relay) == [(1, "succeeded"), (2, "succeeded")]
    assert relay.simulator.calls()["create"] == 2


@pytest.mark.parametrize(
    ("fate", "attempts", "kind"), [("expired", 2, "succeeded"), ("always-expired", 3, "expired")]
)
def test_results_of_all_attempts_are_fetched_again(
    relay: Harness, fate: str, attempts: int, kind: str
) -> None:
    _, batches = assembling(relay, make_row(1, f"[fate:{fate}]") + b"\n" + make_row(2))
    assert len(batches) == attempts
    delete_results(relay, batches)

    run(relay, 2)

    assert ends(relay) == [(1, kind), (2, "succeeded")]
    assert_restored(relay, batches[0].job)
    assert relay.simulator.calls()["create"] == attempts


def test_results_that_are_deleted_while_a_later_attempt_runs_are_fetched_again(
    relay: Harness,
) -> None:
    relay.simulator.processing_s = 3600.0
    relay.upload(KEY, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
    while len(batches := relay.items.batches(relay.items.unfinished().jobs[0].job)) == 1:
        relay.tick(1800)
    delete_results(relay, batches)

    run(relay, 2)

    assert ends(relay) == [(1, "succeeded"), (2, "succeeded")]
    assert_restored(relay, batches[0].job)


def test_results_that_a_later_attempt_only_kept_are_fetched_again(relay: Harness) -> None:
    """The job is canceled before that attempt is sent."""
    relay.context.left_s = 200.0  # too little to assemble immediately
    relay.upload(KEY, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
    (job,) = relay.items.unfinished().jobs
    while len(relay.items.batches(job.job)) == 1:
        relay.tick()
    relay.upload(KEY + ".cancel", b"")
    while relay.items.unfinished().batches:
        relay.tick()
    batches = relay.items.batches(job.job)
    assert [batch.close_reason for batch in batches] == [None, "canceled"]
    delete_results(relay, batches)

    run(relay, 2)

    assert ends(relay) == [(1, "expired"), (2, "succeeded")]
    assert_restored(relay, job.job)


def test_earlier_results_are_fetched_again_if_the_later_ones_are_given_up(relay: Harness) -> None:
    _, batches = assembling(relay, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
    delete_results(relay, batches)
    stuck = {"status": BatchStatus.STUCK, "part": None, "tally": None}
    assert relay.items.transition(batches[1], stuck, expected={"status": batches[1].status})

    run(relay, 2)

    assert ends(relay) == [(1, "expired"), (2, "succeeded")]
    job = relay.items.job(batches[0].job)
    assert job is not None
    assert (job.chunks_finished, job.chunks) == (1, 1)


def delete_results(relay: Harness, batches: list[Batch]) -> None:
    delete(relay, *(batch.part.results.key for batch in batches if batch.part is not None))


def assert_restored(relay: Harness, job_id: str) -> None:
    """Check that nothing of a job of one chunk is lost, paid twice or counted twice."""
    manifest, job = relay.manifest(KEY), relay.items.job(job_id)
    assert all("problem" not in entry for entry in manifest["batches"])
    assert manifest["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)
    assert job is not None
    assert (job.chunks_finished, job.chunks) == (1, 1)
    assert (job.collected_succeeded, job.collected_expired) == tuple(
        manifest["counts"].get(kind, 0) for kind in ("succeeded", "expired")
    )


def test_a_job_is_assembled_again_after_a_kill_between_its_two_writes(relay: Harness) -> None:
    """The batch is to be collected again, and the job does not know it yet."""
    _, (first, *_) = assembling(relay, make_upload(6))
    assert first.part is not None
    delete(relay, first.part.results.key)
    transition = relay.results.items.transition

    def fail_for_job(item: Job | Batch, changes: Any, **options: Any) -> bool:
        if changes.get("status") == "RUNNING":
            raise ConnectionResetError
        return transition(item, changes, **options)

    relay.results.items.transition = fail_for_job  # type: ignore[method-assign]
    for _ in range(4):
        with suppress(ObjectNotFoundError, ConnectionResetError):
            relay.tick(1800)
    relay.results.items.transition = transition  # type: ignore[method-assign]

    run(relay, 4)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 6}


def test_results_that_are_deleted_each_time_are_fetched_twice(relay: Harness) -> None:
    _, (first, *_) = assembling(relay, make_upload(2))
    for _ in range(30 * 4):
        for batch in relay.items.batches(first.job):
            if batch.part is not None:
                delete(relay, batch.part.results.key)
        run(relay, 0.25)

    assert relay.simulator.calls()["results"] == 3
    assert relay.manifest(KEY)["errors"] == {"result_lost": 2}


def test_only_the_chunk_whose_results_are_deleted_is_lost(relay: Harness) -> None:
    _, (_, second, _) = assembling(relay, make_upload(6))
    assert second.part is not None
    delete(relay, second.part.results.key)
    relay.pass_time(31 * DAY_S)  # Anthropic has deleted its results, too

    run(relay, 4)

    kinds = ["succeeded"] * 2 + ["errored"] * 2 + ["succeeded"] * 2
    assert ends(relay) == [*enumerate(kinds, 1)]
    assert relay.manifest(KEY)["errors"] == {"result_lost": 2}
    entry = relay.manifest(KEY)["batches"][1]
    assert second.part.results.key in entry["problem"]
    retry = [line for line in relay.read(KEY, "retry.jsonl").splitlines() if line]
    assert retry == [make_row(3), make_row(4)]
    types = [event["type"] for event in relay.events()]
    assert types.count("batch.stuck") == types.count("job.completed") == 1
    assert every_row_accepted_once(relay)


def test_the_retry_file_of_a_table_has_its_header_once(relay: Harness) -> None:
    template = b'[request.params]\nmodel = "claude-haiku-5-5"\nmax_tokens = 4096\n'
    template += b'messages = [{ role = "user", content = "{{text}}" }]\n'
    relay.upload("in/_relay.toml", template)
    _, (first, _) = assembling(relay, b"id,text\r\n1,a\r\n2,b\r\n3,c\r\n", TABLE_KEY)
    assert first.part is not None
    delete(relay, first.part.results.key)
    relay.pass_time(31 * DAY_S)

    run(relay, 4)

    rows = [row for row in relay.read(TABLE_KEY, "retry.csv").splitlines() if row]
    assert rows == [BOM + b"id,text", b"1,a", b"2,b"]


def test_results_that_are_restored_in_time_lose_nothing(relay: Harness) -> None:
    _, (first, *_) = assembling(relay, make_upload(6))
    assert first.part is not None
    body = relay.s3.get_object(Bucket=RESULTS, Key=first.part.results.key)["Body"].read()
    delete(relay, first.part.results.key)
    for _ in range(5):
        with suppress(ObjectNotFoundError):
            relay.tick(1800)
    relay.s3.put_object(Bucket=RESULTS, Key=first.part.results.key, Body=body)

    run(relay, 2)

    assert relay.manifest(KEY)["counts"] == {"succeeded": 6}


def test_without_a_later_attempts_results_those_of_the_earlier_one_count(relay: Harness) -> None:
    _, batches = assembling(relay, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
    assert [batch.attempt for batch in batches] == [1, 2]
    assert batches[1].part is not None
    delete(relay, batches[1].part.results.key)
    relay.pass_time(31 * DAY_S)

    run(relay, 4)

    assert ends(relay) == [(1, "expired"), (2, "succeeded")]
    assert "attempt 1" in relay.manifest(KEY)["batches"][1]["problem"]
    retry = relay.manifest(KEY)["retry"]
    assert (retry["complete"], retry["missing_rows"]) == (False, 1)


def test_deleted_best_effort_files_cost_no_answer(relay: Harness) -> None:
    rows = [make_row(1), b"{broken", make_row(3)]
    _, (first, _) = assembling(relay, b"\n".join(rows))
    part = first.part
    assert part is not None
    assert part.errors is not None
    assert part.retry is not None
    delete(relay, part.errors.key, part.retry.key)

    run(relay, 4)

    assert ends(relay) == [(1, "succeeded"), (2, "rejected"), (3, "succeeded")]
    assert part.errors.key in relay.manifest(KEY)["batches"][0]["problem"]
    assert part.retry.key in relay.manifest(KEY)["retry"]["reason"]


@pytest.mark.parametrize("copied", [False, True], ids=["read", "copied by S3"])
def test_a_piece_that_is_gone_is_the_same_error_however_it_is_joined(
    relay: Harness,
    *,
    copied: bool,
) -> None:
    files = relay.results.files
    size = MIN_PART_BYTES if copied else 1
    pieces = [files.write(f"work/{number}", [b"x" * size]) for number in range(2)]
    delete(relay, pieces[0].key)

    with pytest.raises(ObjectNotFoundError, match="s3://results/work/0 no longer exists"):
        files.join("results/joined", pieces, "work/scratch")


def test_parts_of_a_job_that_is_given_up_are_not_marked_for_deletion(relay: Harness) -> None:
    job, batches = assembling(relay, make_upload(4))
    relay.results.items.batches = Mock(side_effect=ZeroDivisionError)  # type: ignore[method-assign]
    for _ in range(35 * 4):
        with suppress(ZeroDivisionError):
            relay.tick(DAY_S / 4)

    ended = relay.items.job(job.job)
    assert ended is not None
    assert (ended.status, ended.outcome, ended.open) == ("DONE", "failed", None)
    assert f"work/{job.job}/" in (ended.failure or "")
    for batch in batches:
        assert batch.part is not None
        tags = relay.s3.get_object_tagging(Bucket=RESULTS, Key=batch.part.results.key)["TagSet"]
        assert tags == []
