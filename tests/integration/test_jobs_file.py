"""jobs.json lists the jobs that run and those that ended last, and is written only when one of them changes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from functions.model import timestamps
from functions.model.records import JobsFileWrite
from functions.model.unfinished import Unfinished
from functions.polling import jobs_file
from functions.polling.jobs_file import MAX_ENDED, MAX_RUNNING
from functions.polling.phases import Phases
from functions.polling.status_file import status_reader
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests, without_list_bucket
from tests.harness import RESULTS, Harness, make_upload, open_harness

SCHEMA = Path(__file__).parents[2] / "docs" / "jobs.schema.json"
DENIED = S3ErrorResponse(403, "AccessDenied", "Access Denied")
KEY, OTHER = "in/march.jsonl", "in/april.jsonl"


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches run for 100 seconds."""
    with open_harness(tmp_path, processing_s=100.0) as harness:
        yield harness


def jobs(relay: Harness) -> dict[str, Any]:
    """Read jobs.json, which always matches its schema."""
    body = relay.s3.get_object(Bucket=RESULTS, Key=jobs_file.KEY)["Body"].read()
    document: dict[str, Any] = json.loads(body)
    Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(document)
    return document


def listed(relay: Harness, state: str) -> list[str]:
    return [entry["links"]["upload"].rpartition("/")[2] for entry in jobs(relay)[state]]


@pytest.fixture
def writes(relay: Harness, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the time of each write."""
    times, real = list[str](), relay.poll.files.put_if_unchanged

    def put(*arguments: Any) -> bool:
        times.append(timestamps.text(relay.now()))
        return real(*arguments)

    monkeypatch.setattr(relay.poll.files, "put_if_unchanged", put)
    return times


def test_the_schema_is_strict() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))

    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(schema["properties"])


def test_a_job_is_listed_while_it_runs_and_after_it_ended(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.tick()
    (running,) = jobs(relay)["running"]
    assert (running["status"], running["waiting"]) == ("RUNNING", ["answers"])

    relay.finish()
    document = jobs(relay)
    (ended,) = document["ended"]
    assert document["running"] == []
    assert (ended["outcome"], ended["counts"]) == ("succeeded", {"succeeded": 3})
    assert ended["cost_usd_known"] == relay.manifest(KEY)["cost_usd"]
    assert ended["links"]["results"] == f"s3://{RESULTS}/{relay.results_folder(KEY)}/"


def test_the_first_file_is_written_without_permission_to_list(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    with without_list_bucket(relay.s3):
        relay.tick()

    assert listed(relay, "running") == ["march.jsonl"]


def test_the_newest_jobs_are_first(relay: Harness) -> None:
    for key in (KEY, OTHER):
        relay.upload(key, make_upload(1, key))
        relay.tick()
        relay.finish()

    assert listed(relay, "ended") == ["april.jsonl", "march.jsonl"]


def test_nothing_is_written_while_nothing_changes(relay: Harness, writes: list[str]) -> None:
    relay.simulator.processing_s = 10_000.0
    relay.upload(KEY, make_upload(3))
    for _ in range(4):
        relay.tick()
    written = len(writes)
    for _ in range(10):
        relay.tick()

    assert len(writes) == written <= 3


def test_changes_of_running_jobs_are_written_once_a_minute(
    relay: Harness, writes: list[str]
) -> None:
    relay.simulator.processing_s = 10_000.0
    for second in range(30):
        relay.upload(f"in/{second}.jsonl", make_upload(1, str(second)))
        relay.tick(1)

    assert len(writes) == 1


def test_a_job_that_is_not_listed_yet_when_poll_dies_is_listed_later(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays in the index until after this file is written."""
    relay.upload(KEY, make_upload(3))
    put = relay.poll.files.put_if_unchanged
    monkeypatch.setattr(relay.poll.files, "put_if_unchanged", _die_if_ended)
    with pytest.raises(ProcessKilledError):
        relay.finish()
    monkeypatch.setattr(relay.poll.files, "put_if_unchanged", put)
    relay.finish()

    assert listed(relay, "ended") == ["march.jsonl"]


class ProcessKilledError(BaseException):
    """The process was killed; `except Exception` does not catch this."""


def _die_if_ended(_key: str, body: bytes, _etag: str | None) -> bool:
    if b'"DONE"' in body:
        raise ProcessKilledError
    return True


def test_without_s3_the_job_ends_and_is_delivered(relay: Harness) -> None:
    with reject_requests(relay.s3, "PutObject", DENIED, jobs_file.KEY):
        relay.upload(KEY, make_upload(3))
        relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


@pytest.mark.parametrize(
    "body", [None, b"", b"[]", b'{"ended": [{"job": 1}], "ended_since": "x"}']
)
def test_a_lost_file_is_restarted_and_names_the_time(relay: Harness, body: bytes | None) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.finish()
    before = jobs(relay)["ended_since"]
    if body is None:
        relay.s3.delete_object(Bucket=RESULTS, Key=jobs_file.KEY)
    else:
        relay.s3.put_object(Bucket=RESULTS, Key=jobs_file.KEY, Body=body)
    relay.upload(OTHER, make_upload(3, "april"))
    relay.tick()
    relay.finish()

    assert listed(relay, "ended") == ["april.jsonl"]
    assert jobs(relay)["ended_since"] > before


def test_a_file_that_cannot_be_read_is_not_overwritten(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    before = jobs(relay)
    with reject_requests(relay.s3, "GetObject", DENIED, jobs_file.KEY):
        relay.finish()

    assert jobs(relay) == before


def test_a_write_of_another_poll_meanwhile_is_not_overwritten(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    read = relay.poll.files.read_with_etag
    foreign = msgspec.json.encode(jobs(relay) | {"at": timestamps.text(relay.now())})

    def read_and_change(key: str, limit: int) -> Any:
        found = read(key, limit)
        relay.s3.put_object(Bucket=RESULTS, Key=key, Body=foreign + b" " * relay.moment.minute)
        return found

    monkeypatch.setattr(relay.poll.files, "read_with_etag", read_and_change)
    relay.tick()
    assert jobs(relay)["running"] == json.loads(foreign)["running"]

    monkeypatch.setattr(relay.poll.files, "read_with_etag", read)
    relay.finish()
    assert listed(relay, "ended") == ["march.jsonl"]


def test_a_stale_index_does_not_show_an_ended_job_as_running(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.upload(KEY, make_upload(3))
    relay.tick()
    stale = relay.items.unfinished()
    relay.finish()
    monkeypatch.setattr(relay.poll.items, "unfinished", lambda _has_time: stale)
    relay.tick()

    assert (listed(relay, "running"), listed(relay, "ended")) == ([], ["march.jsonl"])


def test_ten_thousand_running_and_a_thousand_ended_are_the_most(relay: Harness) -> None:
    relay.upload(KEY, make_upload(1))
    relay.tick()
    (job,) = relay.items.unfinished().jobs
    many = [
        msgspec.structs.replace(job, job=f"{number:020x}", status=status)
        for status, first, count in (("RUNNING", 0, MAX_RUNNING + 7), ("DONE", 50_000, MAX_ENDED + 5))
        for number in range(first, first + count)
    ]  # fmt: skip
    status = status_reader(Unfinished(), None, relay.now())
    relay.pass_time(60)
    jobs_file.write_jobs_file(relay.poll, many, Phases(), status, JobsFileWrite())
    document = jobs(relay)

    assert (len(document["running"]), document["running_not_listed"]) == (MAX_RUNNING, 7)
    assert len(document["ended"]) == MAX_ENDED
