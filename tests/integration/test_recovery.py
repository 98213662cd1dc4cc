"""Recovery without help: after lost answers, replaced keys, deleted objects and rejections."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import botocore.exceptions
import msgspec
import pytest

from functions.adapters.anthropic_api import Claude
from functions.errors import ApiUnavailableError, DownloadError
from functions.model.items.batch import Batch, BatchStatus
from functions.polling.phases import MIN_TIME_LEFT_S, Phases
from tests.harness import RESULTS, TABLE, Harness, make_row, make_upload, open_harness
from tests.verification.crash.crash_harness import open_crash_harness

KEY = "in/march.jsonl"


def test_a_404_for_the_listing_does_not_stop_sending(tmp_path: Path) -> None:
    with open_crash_harness(tmp_path, processing_s=600.0) as relay:
        relay.upload("in/first.jsonl", make_upload(2, "first"))
        relay.tick()
        relay.simulator.arm("not_found", times=0, endpoint="list")
        relay.upload(KEY, make_upload(2))
        for _ in range(3):
            relay.tick()

        assert relay.failures == []
        assert relay.simulator.calls()["create"] == 2


def test_a_later_attempt_that_is_quarantined_is_not_sent_again(tmp_path: Path) -> None:
    """Its second batch may have been paid for, although it was not collected."""
    with open_harness(tmp_path, processing_s=100.0) as relay:
        relay.upload(KEY, make_row(1, "[fate:expired]") + b"\n" + make_row(2))
        batch = _tick_until_batch(relay, attempt=2, status="IN_PROGRESS")
        ledger = relay.s3.get_object(Bucket=RESULTS, Key=batch.ledger_key)["Body"].read()
        relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=b"no ledger")
        while not (batch := _tick_until_batch(relay, 6 * 3600, attempt=2)).close_reason:
            pass
        relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=ledger)

        relay.finish(60)

        assert sorted(relay.simulator.accepted_params().values()) == [1, 2]
        assert [line["result"]["type"] for line in relay.lines(KEY)] == ["expired", "succeeded"]


def _tick_until_batch(relay: Harness, seconds: float = 60, **attributes: Any) -> Batch:
    """Tick until a batch has these attributes; return it."""
    for _ in range(60):
        with suppress(DownloadError, msgspec.DecodeError):
            relay.tick(seconds)
        for batch in relay.items.unfinished().batches:
            if all(getattr(batch, name) == value for name, value in attributes.items()):
                return batch
    raise AssertionError(attributes)


def test_an_unconfirmed_batch_is_adopted_with_a_replacement_key(
    tmp_path: Path,
) -> None:
    with open_harness(tmp_path, keys={"sk-a": "default", "sk-b": "default"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, make_upload(3))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()

        relay.finish()

        assert [len(relay.lines(KEY)), relay.simulator.calls()["create"]] == [3, 1]


@pytest.mark.parametrize(
    "processing_s", [0.0, 3600.0], ids=["the other is collected", "the other runs"]
)
def test_another_batch_of_the_first_key_lets_its_replacement_prove_absence(
    tmp_path: Path, processing_s: float
) -> None:
    """The replacement lists a Message Batch that the first key created: both have one workspace."""
    keys = {"sk-a": "default", "sk-b": "default"}
    with open_harness(tmp_path, keys=keys, processing_s=processing_s) as relay:
        relay.key = "sk-a"
        relay.upload("in/first.jsonl", make_upload(2, "first"))
        for _ in range(3):
            relay.tick()
        _lose_create_and_replace_key(relay)
        for _ in range(20):
            relay.tick()
        creates = relay.simulator.calls()["create"]
        relay.finish(100)

        assert creates == 3
        assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_batches_of_the_new_key_do_not_let_it_prove_absence(tmp_path: Path) -> None:
    """They say nothing about the workspace of the first key."""
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}, processing_s=3600.0) as relay:
        relay.key = "sk-a"
        _lose_create_and_replace_key(relay)
        relay.upload("in/second.jsonl", make_upload(2, "second"))
        for _ in range(30):
            relay.tick()

        unconfirmed = relay.items.unfinished().of(BatchStatus.UNCONFIRMED)
        assert [batch.requests for batch in unconfirmed] == [3]
        assert relay.simulator.calls()["create"] == 2


def _lose_create_and_replace_key(relay: Harness) -> None:
    """Upload; the API refuses the create with a 500, which proves nothing. Then the secret has another key."""
    relay.simulator.arm("server_error", endpoint="create")
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.key = "sk-b"
    relay.deploy()


def test_an_unconfirmed_batch_of_another_key_ends_after_a_month(
    tmp_path: Path,
) -> None:
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("lost_answer")
        relay.upload(KEY, make_upload(3))
        relay.tick()
        relay.key = "sk-b"
        relay.deploy()
        relay.tick()
        relay.pass_time(31 * 24 * 3600)

        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"errored": 3}
        assert relay.simulator.calls()["create"] == 1


def test_a_404_with_another_key_does_not_end_paid_rows(tmp_path: Path) -> None:
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}, processing_s=100.0) as relay:
        relay.key = "sk-a"
        relay.upload(KEY, make_upload(3))
        relay.simulator.arm("server_error", times=2, endpoint="results")
        for _ in range(4):
            relay.tick()
        assert relay.items.unfinished().batches[0].status == "ENDED"
        relay.key = "sk-b"
        relay.deploy()
        relay.pass_time(26 * 3600)
        for _ in range(12):
            relay.tick()
        relay.key = "sk-a"
        relay.deploy()

        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


@pytest.mark.parametrize(
    ("workspace", "expected"),
    [("one", {"results_gone": 3}), ("two", None)],
    ids=["of the same workspace", "of another workspace"],
)
def test_a_deleted_batch_is_gone_for_a_replacement_key(
    tmp_path: Path, workspace: str, expected: dict[str, int] | None
) -> None:
    """The replacement lists another Message Batch of the first key only if both have one workspace."""
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": workspace}) as relay:
        relay.key = "sk-a"
        _send_and_delete(relay)
        relay.upload("in/second.jsonl", make_upload(2, "second"))
        for _ in range(3):
            relay.tick()
        relay.key = "sk-b"
        relay.deploy()
        relay.upload("in/third.jsonl", make_upload(2, "third"))
        for _ in range(72):
            relay.tick(3600)

        open_batches = relay.items.unfinished().batches
        errors = None if open_batches else relay.manifest(KEY)["errors"]
        assert errors == expected


def _send_and_delete(relay: Harness) -> None:
    """Send a batch, and delete it at Anthropic before poll sees that it has ended."""
    relay.upload(KEY, make_upload(3))
    relay.tick()
    (sent,) = relay.simulator.batches()
    relay.simulator.delete(str(sent["id"]))


def test_404s_with_a_key_of_another_workspace_do_not_count_for_the_first_key(
    tmp_path: Path,
) -> None:
    """With the first key, the listings lacked the batch for a while. It needs 404s of its own."""
    with open_harness(tmp_path, keys={"sk-a": "one", "sk-b": "two"}) as relay:
        relay.key = "sk-a"
        relay.simulator.arm("hidden_from_list", listings=1000)
        relay.upload(KEY, make_upload(3))
        relay.tick()
        relay.simulator.arm("server_error", times=1, endpoint="results")
        while not (batch := relay.items.unfinished().batches[0]).last_error:
            relay.tick(3600)
        assert (batch.status, batch.listing_misses) == ("ENDED", 3)
        relay.key = "sk-b"
        relay.deploy()
        for _ in range(72):
            relay.tick(3600)
        assert relay.items.unfinished().batches[0].not_found > 5
        relay.key = "sk-a"
        relay.deploy()
        relay.simulator.arm("results_not_found")

        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"succeeded": 3}


def test_a_deleted_upload_costs_the_retry_file_and_no_answer(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3) + b"\n{broken")
    (job,) = relay.items.unfinished().jobs  # it has been read completely by now
    relay.s3.delete_object(Bucket="uploads", Key=KEY, VersionId=job.version)

    relay.finish(200)

    assert relay.manifest(KEY)["counts"] == {"rejected": 1, "succeeded": 3}
    assert relay.read(KEY, "retry.jsonl") == b""


def test_an_event_rejected_by_sns_delays_no_other(relay: Harness) -> None:
    publish = relay.sns.publish

    def reject_planned_event(**message: Any) -> Any:
        if "planned" in message["Message"]:
            error: Any = {"Error": {"Code": "InvalidParameter", "Message": "no"}}
            raise botocore.exceptions.ClientError(error, "Publish")
        return publish(**message)

    relay.sns.publish = reject_planned_event  # type: ignore[method-assign]
    relay.upload(KEY, make_upload(3))
    for _ in range(10):
        relay.tick()

    assert "job.completed" in [event["type"] for event in relay.events()]


@pytest.mark.parametrize("key", ["ü" * 505 + "x.jsonl", "x" * 1010 + ".jsonl"])
def test_any_upload_can_be_canceled(tmp_path: Path, key: str) -> None:
    with open_harness(tmp_path, processing_s=3600.0) as relay:
        relay.upload(key, make_upload(2))
        relay.tick()
        relay.upload(key + ".cancel", b"")
        relay.finish()

        assert relay.simulator.calls()["cancel"] == 1


@pytest.mark.parametrize("key", ["sk-ü", '{\n "key": "sk-local"\n}', ""])
def test_a_secret_without_a_valid_key_pauses_sending(relay: Harness, key: str) -> None:
    relay.key = key
    relay.upload(KEY, make_upload(2))
    for _ in range(3):
        relay.tick()

    paused = [event for event in relay.events() if event["type"] == "sending.paused"]
    assert [event["data"]["reason"] for event in paused] == ["key_missing"]


def test_a_job_with_a_missing_chunk_fails(tmp_path: Path) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.deploy(requests_per_batch=1, retry_s=10)
        relay.upload(KEY, make_upload(3))
        (job,) = relay.items.unfinished().jobs
        relay.dynamodb.delete_item(
            TableName=TABLE, Key={"job": {"S": job.job}, "item": {"S": "00002-1"}}
        )
        relay.dynamodb.update_item(
            TableName=TABLE,
            Key={"job": {"S": job.job}, "item": {"S": "#"}},
            UpdateExpression="ADD chunks_finished :one SET failure = :failure",
            ExpressionAttributeValues={":one": {"N": "1"}, ":failure": {"S": "of planning"}},
        )
        for _ in range(20):
            relay.tick(6 * 3600)
        waiting_job = relay.items.job(job.job)
        for _ in range(120):
            relay.tick(6 * 3600)

        assert "stuck" in " ".join(event["type"] for event in relay.events())
        assert waiting_job is not None
        assert waiting_job.status == "ASSEMBLING"
        assert (final_job := relay.items.job(job.job)) is not None
        assert (final_job.status, final_job.outcome) == ("DONE", "failed")
        assert "the results could not be assembled" in str(final_job.failure)
        assert final_job.planning_failure == "of planning"


def test_a_conflict_with_another_transaction_is_retried(relay: Harness) -> None:
    relay.upload(KEY, make_upload(2))
    relay.pass_time(60)
    relay.poll_once()
    update, conflicts_left = relay.dynamodb.update_item, 2

    def update_with_conflicts(**arguments: Any) -> Any:
        nonlocal conflicts_left
        if conflicts_left:
            conflicts_left -= 1
            code = "TransactionConflictException"
            response: Any = {
                "Error": {"Code": code, "Message": "another transaction is in progress"}
            }
            raise relay.dynamodb.exceptions.TransactionConflictException(response, "UpdateItem")
        return update(**arguments)

    relay.dynamodb.update_item = update_with_conflicts  # type: ignore[method-assign]
    relay.drain_queues()

    assert relay.simulator.calls()["create"] == 1


class SilentHandler(BaseHTTPRequestHandler):
    """Accept every request, and never answer."""

    def do_GET(self) -> None:
        time.sleep(1.0)

    def log_message(self, *_args: object) -> None:
        pass


def test_an_unresponsive_api_does_not_stop_the_rest_of_poll(tmp_path: Path) -> None:
    """Waiting items are woken and poll ends, although its listing is not answered."""
    with (
        open_harness(tmp_path, processing_s=600.0) as relay,
        HTTPServer(("127.0.0.1", 0), SilentHandler) as silent_server,
    ):
        relay.upload("in/first.jsonl", make_upload(2, "first"))
        relay.tick()
        threading.Thread(target=silent_server.handle_request).start()
        url = f"http://127.0.0.1:{silent_server.server_port}"
        unanswered_claude = Claude(
            base_url=url, api_version="x", read_key=lambda _: "sk-local", read_s=0.2
        )
        relay.poll = replace(relay.poll, claude=unanswered_claude)
        relay.upload(KEY, make_upload(2))
        relay.pass_time(60)
        summary = relay.poll_once()

        assert (summary.admitted, summary.woken) == (1, 1)
        assert summary.silent_since is not None


def test_results_that_never_come_take_the_time_of_one_candidate(relay: Harness) -> None:
    """An unconfirmed batch may be any of five; each answer may take 25 s of the 28 s that are left."""
    relay.simulator.arm("server_error", endpoint="create")
    relay.upload(KEY, make_upload(3))
    relay.tick()
    for _ in range(5):
        relay.simulator.add_foreign(3)
    relay.pass_time(60)
    left_s = 120.0

    def time_out(_batch_id: str, _start: int = 0) -> Iterator[bytes]:
        nonlocal left_s
        left_s = min(left_s, MIN_TIME_LEFT_S["reconcile"]) - 25
        raise ApiUnavailableError

    relay.poll.claude.results = time_out  # type: ignore[method-assign,assignment]
    relay.poll_once(Phases(lambda: left_s))

    assert left_s == MIN_TIME_LEFT_S["reconcile"] - 25


def test_a_long_plan_yields_to_others_after_some_minutes(relay: Harness) -> None:
    relay.deploy(requests_per_batch=1)
    write = relay.submit.files.write

    def write_slowly(key: str, blocks: Any) -> Any:
        relay.context.left_s -= 100.0
        return write(key, blocks)

    relay.submit.files.write = write_slowly  # type: ignore[method-assign,assignment]
    relay.upload(KEY, make_upload(3))
    (job,) = relay.items.unfinished().jobs
    relay.context.left_s = 900.0
    relay.finish()

    assert (job.status, job.checkpoint.row, job.tries, job.owner) == ("PLANNING", 1, 0, None)
    assert [line["row"] for line in relay.lines(KEY)] == [1, 2, 3]
