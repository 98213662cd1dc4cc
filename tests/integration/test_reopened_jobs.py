"""A job is reopened on request: assembled again, or with results that Anthropic still has."""

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.adapters.queues import work_message_for
from functions.assembling import reopen as reopening
from functions.assembling import tidy
from functions.assembling.reopen import reopen
from functions.errors import ObjectNotFoundError
from functions.model.items.batch import BatchStatus, CloseReason
from functions.model.items.job import Job, JobStatus
from functions.results import results
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, Harness, make_row, make_upload, open_harness

KEY = "team/march.jsonl"
DAY_S = 86_400.0
DENIED = S3ErrorResponse(403, "AccessDenied", "an SCP denies s3:PutObjectTagging")


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay with three chunks of two rows."""
    with open_harness(tmp_path) as harness:
        harness.deploy(requests_per_batch=2)
        yield harness


def finished(relay: Harness) -> str:
    relay.upload(KEY, make_upload(6))
    relay.finish()
    return str(relay.manifest(KEY)["job"])


def closed_without_results(relay: Harness, *, stuck: bool = False) -> str:
    """Finish a job whose first batch was closed, or got stuck, without the results, which Anthropic still has."""
    relay.upload(KEY, make_upload(6))
    relay.tick()
    first = next(batch for batch in relay.items.unfinished().batches if batch.chunk == "00001")
    relay.simulator.arm("not_found", times=0, endpoint="results", batch_id=str(first.batch_id))
    relay.tick()
    ended = relay.items.batch(first.job, first.item)
    assert ended is not None
    changes = {"status": BatchStatus.STUCK} if stuck else {"close_reason": CloseReason.GONE}
    counts = {"chunks_finished": 1} if stuck else None
    expected = {"status": BatchStatus.ENDED}
    assert relay.items.transition(ended, changes, expected=expected, job_increments=counts)
    relay.finish()
    relay.simulator.disarm()
    assert relay.manifest(KEY)["counts"] == {"succeeded": 4, "errored": 2}
    return first.job


def request(relay: Harness, verb: str, job: str) -> dict[str, object]:
    return reopen(relay.results, verb, job)


def delete(relay: Harness, prefix: str) -> None:
    for entry in relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=prefix)["Contents"]:
        relay.s3.delete_object(Bucket=RESULTS, Key=entry["Key"])


def tags_of_work_files(relay: Harness, job: str) -> list[bool]:
    listed = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=f"work/{job}/")["Contents"]
    return [
        bool(relay.s3.get_object_tagging(Bucket=RESULTS, Key=entry["Key"])["TagSet"])
        for entry in listed
    ]


def ledger(relay: Harness) -> list[tuple[str, str | None]]:
    month = f"ledger/{relay.moment:%Y-%m}"
    return [(entry.outcome, entry.cost_usd) for entry in relay.results.cost_ledger.entries(month)]


def test_a_job_whose_results_were_deleted_is_assembled_again(relay: Harness) -> None:
    job = finished(relay)
    before, booked = relay.read(KEY, "results.jsonl"), ledger(relay)
    delete(relay, f"results/team/march/{job}/results.jsonl")
    relay.events()

    assert request(relay, "reassemble", job)["accepted"]
    relay.finish()

    assert relay.read(KEY, "results.jsonl") == before
    assert ledger(relay) == booked
    [event] = relay.events()
    assert (event["type"].endswith("job.completed"), event["id"]) == (True, f"{job}/ended/1")


@pytest.mark.parametrize("stuck", [False, True])
def test_results_that_anthropic_still_has_are_collected(relay: Harness, *, stuck: bool) -> None:
    job = closed_without_results(relay, stuck=stuck)
    creates = relay.simulator.calls()["create"]

    answer = request(relay, "recollect", job)
    relay.finish()

    assert (answer["accepted"], answer["batches"]) == (True, 1)
    manifest = relay.manifest(KEY)
    assert (manifest["outcome"], manifest["counts"]) == ("succeeded", {"succeeded": 6})
    assert relay.simulator.calls()["create"] == creates
    assert [outcome for outcome, _ in ledger(relay)] == ["succeeded"]


@pytest.mark.parametrize("verb", ["reassemble", "recollect"])
def test_a_request_that_dies_is_completed_by_the_next(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    job = closed_without_results(relay)

    def die(*_arguments: object, **_options: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reopening, "_open_job", die)
        with pytest.raises(KeyboardInterrupt):
            request(relay, verb, job)
    for _ in range(3):
        relay.tick()
    request(relay, verb, job)
    relay.finish()

    expected = {"succeeded": 6} if verb == "recollect" else {"succeeded": 4, "errored": 2}
    assert relay.manifest(KEY)["counts"] == expected
    item = relay.items.job(job)
    assert item is not None
    assert (item.chunks_finished, item.chunks) == (3, 3)


def test_delivered_results_are_not_put_at_risk(relay: Harness) -> None:
    job = finished(relay)
    relay.pass_time(35 * DAY_S)
    delete(relay, f"work/{job}/")

    for verb in ("reassemble", "recollect"):
        answer = request(relay, verb, job)

        assert not answer["accepted"]
        assert "rows 1 to 2 cannot be joined again" in str(answer["message"])
    item = relay.items.job(job)
    assert item is not None
    assert item.status == JobStatus.DONE


@pytest.mark.parametrize("verb", ["reassemble", "recollect"])
def test_ids_are_not_put_at_risk(relay: Harness, verb: str) -> None:
    """After a week the ledgers are deleted, too, and results alone do not have the user's ids."""
    job = finished(relay)
    relay.pass_time(8 * DAY_S)
    delete(relay, f"work/{job}/")

    answer = request(relay, verb, job)

    assert not answer["accepted"]
    assert "rows 1 to 2" in str(answer["message"])


@pytest.mark.parametrize(("days", "is_accepted"), [(20, True), (31, False)])
@pytest.mark.parametrize("verb", ["reassemble", "recollect"])
def test_answers_of_an_earlier_attempt_are_fetched_again_or_not_put_at_risk(
    relay: Harness, verb: str, days: int, *, is_accepted: bool
) -> None:
    relay.upload(KEY, make_row(1) + b"\n" + make_row(2, "[fate:overloaded_error]"))
    relay.finish()
    job, before = str(relay.manifest(KEY)["job"]), relay.read(KEY, "results.jsonl")
    parts = [batch.part for batch in relay.items.batches(job)]
    assert len(parts) == 2
    for part in parts:
        assert part is not None
        delete(relay, part.results.key)
    relay.pass_time(days * DAY_S)

    assert request(relay, verb, job)["accepted"] is is_accepted
    with suppress(ObjectNotFoundError):  # the first try to assemble finds out
        relay.finish()
    relay.finish()

    assert relay.read(KEY, "results.jsonl") == before


@pytest.mark.parametrize(
    ("fault", "message"),
    [("not_found", "no batch lacks results"), ("overloaded", "cannot be downloaded now")],
)
def test_a_job_stays_as_it_is_if_anthropic_has_no_results_now(
    relay: Harness, fault: str, message: str
) -> None:
    """It may have rows that were saved before the download broke off."""
    job = closed_without_results(relay)
    relay.simulator.arm(fault, times=0, endpoint="results")

    answer = request(relay, "recollect", job)

    assert not answer["accepted"]
    assert message in str(answer["message"])


def test_no_work_file_is_deleted_while_the_job_is_open(relay: Harness) -> None:
    """The bucket's lifecycle deletes tagged files a week after they were written, even if the job was reopened."""
    job = closed_without_results(relay)
    assert {*tags_of_work_files(relay, job)} == {True}

    assert request(relay, "recollect", job)["accepted"]
    relay.simulator.arm("overloaded", times=0, endpoint="results")
    relay.tick()
    assert {*tags_of_work_files(relay, job)} == {False}

    relay.simulator.disarm()
    relay.finish()
    assert {*tags_of_work_files(relay, job)} == {True}


def waiting_to_be_tidied(relay: Harness) -> Job:
    """Finish a job whose work files have no tags yet, because S3 denied them."""
    with reject_requests(relay.s3, "PutObjectTagging", DENIED):
        relay.upload(KEY, make_upload(6))
        while not (jobs := relay.items.unfinished().jobs) or jobs[0].status != JobStatus.DONE:
            with suppress(ClientError):
                relay.tick()
    relay.pass_time(DAY_S)
    return jobs[0]


def tidy_begins(relay: Harness, job: Job) -> None:
    """Let tidy tag one file; it still runs, or has died."""
    if relay.results.acquire(work_message_for(job), lambda: 900.0) is None:
        return
    relay.results.files.tag_done(list(relay.results.files.list_keys(f"work/{job.job}/"))[:1])


def tidy_runs(relay: Harness, job: Job) -> None:
    results(relay.results, work_message_for(job), relay.context)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("meanwhile", "before", "is_accepted"),
    [
        (tidy_runs, "_loss", False),
        (tidy_runs, "_open_job", True),
        (tidy_begins, "_loss", False),
        (tidy_begins, "_open_job", True),
    ],
)
def test_tidy_leaves_a_job_alone_that_a_request_is_opening(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Harness, Job], None],
    before: str,
    *,
    is_accepted: bool,
) -> None:
    """If tidy has begun, the request is refused; if the request has, tidy waits."""
    job = waiting_to_be_tidied(relay)
    step = getattr(reopening, before)

    def interrupted(*arguments: object) -> object:
        meanwhile(relay, job)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reopening, before, interrupted)
        answer = request(relay, "reassemble", job.job)

    assert answer["accepted"] is is_accepted
    opened = relay.items.job(job.job)
    assert opened is not None
    assert (opened.status == JobStatus.DONE) is not is_accepted
    assert ({*tags_of_work_files(relay, job.job)} == {False}) is is_accepted
    relay.pass_time(1_000.0)
    relay.finish()
    assert {*tags_of_work_files(relay, job.job)} == {True}


def test_tags_of_a_tidy_that_died_are_removed(relay: Harness) -> None:
    job = waiting_to_be_tidied(relay)
    tidy_begins(relay, job)
    relay.pass_time(1_000.0)

    assert request(relay, "reassemble", job.job)["accepted"]

    assert {*tags_of_work_files(relay, job.job)} == {False}


def test_no_batch_is_opened_once_its_job_is_assembled(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest would lack what is collected then."""
    job = closed_without_results(relay)
    open_batch = reopening._open_batch  # noqa: SLF001 - the job is assembled at this moment

    def late(*arguments: Any, **options: Any) -> bool:
        relay.items.update_if_unchanged(arguments[1], {"owner": "assemble"})
        return open_batch(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(reopening, "_open_batch", late)
        answer = request(relay, "recollect", job)

    assert (answer["accepted"], "try again" in str(answer["message"])) == (False, True)
    assert {batch.status for batch in relay.items.batches(job)} == {BatchStatus.COLLECTED}


def test_a_job_that_a_request_opens_is_not_archived(relay: Harness) -> None:
    """Poll may have read the job before the request. If poll archived it, no stage could finish the request."""
    job = relay.items.job(finished(relay))
    assert job is not None
    assert request(relay, "reassemble", job.job)["accepted"]
    relay.finish()

    assert not relay.items.archive(job, 2_000_000_000)


@pytest.mark.parametrize("outage_s", [0.0, 3_600.0])
def test_tidy_opens_the_job_whose_batches_a_request_opened_before_it_died(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, outage_s: float
) -> None:
    """The results may be collected before or after tidy does: it tags no files that are still needed or missing."""
    job = closed_without_results(relay)

    def die(*_arguments: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reopening, "_open_job", die)
        with pytest.raises(KeyboardInterrupt):
            request(relay, "recollect", job)
    if outage_s:
        relay.simulator.arm("overloaded", times=0, endpoint="results")
        relay.tick(outage_s)
        relay.simulator.disarm()
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 6}
    assert {*tags_of_work_files(relay, job)} == {True}


@pytest.mark.parametrize("dies_in", ["_open_batch", "_open_job"])
def test_work_files_are_tagged_again_after_a_request_that_dies(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    job = closed_without_results(relay)

    def die(*_arguments: object, **_options: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(reopening, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            request(relay, "recollect", job)
    relay.tick()
    assert {*tags_of_work_files(relay, job)} == {False}
    relay.finish()

    assert {*tags_of_work_files(relay, job)} == {True}


def test_tags_left_by_a_request_that_died_are_removed_by_the_next(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = closed_without_results(relay)

    def die(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(relay.results.files, "tag_done", die)
        with pytest.raises(KeyboardInterrupt):
            request(relay, "recollect", job)
    assert {*tags_of_work_files(relay, job)} == {True}

    assert request(relay, "recollect", job)["accepted"]
    assert {*tags_of_work_files(relay, job)} == {False}
    relay.finish()

    assert {*tags_of_work_files(relay, job)} == {True}


def test_work_files_that_are_tagged_already_are_kept_although_others_are_not(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "GROUP", 1)
    tag_done = relay.results.files.tag_done

    def run_out_of_time(keys: Iterable[str]) -> None:
        relay.context.left_s = 0.0
        tag_done(keys)

    with monkeypatch.context() as patch:
        patch.setattr(relay.results.files, "tag_done", run_out_of_time)
        relay.upload(KEY, make_upload(6))
        while relay.context.left_s:
            relay.tick()
    [job] = relay.items.unfinished().jobs
    assert {*tags_of_work_files(relay, job.job)} == {True, False}

    assert request(relay, "reassemble", job.job)["accepted"]

    assert {*tags_of_work_files(relay, job.job)} == {False}


def test_work_files_that_were_deleted_are_fetched_from_anthropic(relay: Harness) -> None:
    job = finished(relay)
    before, booked = relay.read(KEY, "results.jsonl"), ledger(relay)
    for name in ("results", "errors", "retry"):
        for entry in relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=f"work/{job}/")["Contents"]:
            if f".{name}." in entry["Key"]:
                relay.s3.delete_object(Bucket=RESULTS, Key=entry["Key"])

    assert request(relay, "recollect", job)["batches"] == 3
    relay.finish()

    assert relay.read(KEY, "results.jsonl") == before
    assert ledger(relay) == booked


def test_an_earlier_cancel_marker_does_not_cancel_a_reopened_job(
    relay: Harness,
) -> None:
    """The marker is for another upload of the key, or came too late for this one."""
    relay.upload(KEY, make_upload(5) + b"\n{broken")
    relay.finish()
    job = str(relay.manifest(KEY)["job"])
    relay.upload(f"{KEY}.cancel", b"")
    relay.tick()

    assert request(relay, "reassemble", job)["accepted"]
    for _ in range(5):
        relay.tick()

    assert relay.manifest(KEY)["times"]["canceled_at"] is None
    assert relay.manifest(KEY)["outcome"] == "partial"


def test_a_job_that_waits_after_a_failure_is_woken(relay: Harness) -> None:
    relay.context.left_s = 200.0  # too little to assemble immediately
    relay.upload(KEY, make_upload(6))
    while relay.items.unfinished().jobs[0].status != JobStatus.ASSEMBLING:
        relay.tick()
    [job] = relay.items.unfinished().jobs
    relay.items.update_if_unchanged(job, {"not_before": "2999-01-01T00:00:00.000Z"})

    assert request(relay, "reassemble", job.job)["accepted"]
    relay.context.left_s = 900.0
    relay.finish()

    assert relay.manifest(KEY)["outcome"] == "succeeded"


def test_reopening_a_job_that_lacks_nothing_is_refused(relay: Harness) -> None:
    job = finished(relay)

    assert "no batch lacks results" in str(request(relay, "recollect", job)["message"])
    assert "there is no job none" in str(request(relay, "reassemble", "none")["message"])


@pytest.mark.parametrize("verb", ["reassemble", "recollect"])
def test_a_skipped_repeat_cannot_be_reopened(relay: Harness, verb: str) -> None:
    relay.deploy(repeats="skip")
    finished(relay)
    copy = relay.upload("team/copy.jsonl", make_upload(6))
    (event,) = [found for found in relay.events() if found["type"].endswith("job.duplicate")]

    answer = request(relay, verb, event["subject"])
    relay.upload(f"{copy}.again", b"")
    relay.finish()

    assert (answer["accepted"], answer["message"]) == (False, "no batch of it was collected yet")
    assert relay.manifest(copy)["counts"] == {"succeeded": 6}


OF_PLANNING = "the upload is not UTF-8 text (first invalid byte at offset 7)"
OF_ASSEMBLING = (
    "none of the 6 rows succeeded: mostly api_error (6); errors.jsonl says why",
    "the results could not be assembled for a month (NoSuchKey)",
    "canceled after all rows were done, so the cancel changed nothing",
)
DEADLINE = "canceled at its deadline"


@pytest.mark.parametrize(
    ("ended_with", "expected"),
    [
        ({"failure": "a sentence of later", "planning_failure": ""}, None),
        ({"failure": "a sentence of later", "planning_failure": OF_PLANNING}, OF_PLANNING),
        # those of earlier versions
        *[({"failure": failure}, None) for failure in OF_ASSEMBLING],
        ({"failure": OF_PLANNING}, OF_PLANNING),
        ({"failure": DEADLINE, "cancel_reason": DEADLINE}, None),
        ({"failure": f"{DEADLINE}; {OF_PLANNING}", "cancel_reason": DEADLINE}, OF_PLANNING),
        ({}, None),
    ],
)
def test_only_the_failure_of_planning_is_kept(
    relay: Harness, ended_with: dict[str, str], expected: str | None
) -> None:
    job = relay.items.job(finished(relay))
    assert job is not None
    relay.items.update_if_unchanged(job, {"planning_failure": None, **ended_with})

    assert request(relay, "reassemble", job.job)["accepted"]

    opened = relay.items.job(job.job)
    assert opened is not None
    assert opened.failure == expected


@pytest.mark.parametrize(
    "body",
    [
        b"\n".join(make_row(n, "[fate:invalid]") for n in (1, 2)),
        gzip.compress(make_upload(3))[:-12],
    ],
)
def test_a_job_that_failed_fails_for_the_same_reason_again(relay: Harness, body: bytes) -> None:
    """Because of its rows, which assembling finds out, or of its upload, which planning did."""
    relay.upload(KEY, body)
    relay.finish()
    before = relay.manifest(KEY)
    assert before["outcome"] == "failed"

    assert request(relay, "reassemble", before["job"])["accepted"]
    relay.finish()

    after = relay.manifest(KEY)
    assert (after["outcome"], after["reason"]) == (before["outcome"], before["reason"])
