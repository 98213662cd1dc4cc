"""Whole jobs, from the upload to the event."""

import json
import zlib
from pathlib import Path

import pytest

from local.simulator import FAULTS
from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload, open_harness

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
KEY = "in/march.jsonl"


def test_promise_1_answers_every_row_in_order(relay: Harness) -> None:
    relay.upload(KEY, make_upload(25))

    relay.finish()

    lines = relay.lines(KEY)
    assert [line["row"] for line in lines] == list(range(1, 26))
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in range(1, 26)]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}
    assert "hello 17" in lines[16]["result"]["message"]["content"][0]["text"]


def test_promise_4_each_change_has_one_event(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.finish()

    events = relay.events()

    assert [event["type"] for event in events] == ["job.planned", "batch.ended", "job.completed"]
    assert len({event["id"] for event in events}) == 3


def test_chunks_are_joined_in_row_order(relay: Harness) -> None:
    relay.deploy(requests_per_batch=10)
    relay.upload(KEY, make_upload(95))

    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 96))
    assert len(relay.simulator.batches()) == 10
    assert relay.read(KEY, "errors.jsonl") == relay.read(KEY, "retry.jsonl") == b""


def test_the_manifest_describes_the_results(relay: Harness) -> None:
    relay.deploy(requests_per_batch=10)
    relay.upload(KEY, make_upload(25))
    relay.finish()

    manifest = relay.manifest(KEY)

    results = relay.read(KEY, "results.jsonl")
    assert manifest["rows"] == 25
    assert manifest["counts"] == {"succeeded": 25}
    assert manifest["outcome"] == "succeeded"
    assert manifest["files"]["results"]["size_bytes"] == len(results)
    assert manifest["files"]["results"]["crc32"] == f"{zlib.crc32(results):08x}"
    assert manifest["cost_usd"] > 0
    ids = {batch["batch_id"] for batch in manifest["batches"]}
    assert ids == {batch["id"] for batch in relay.simulator.batches()}


def test_a_row_that_cannot_be_sent_keeps_its_place_in_the_results(relay: Harness) -> None:
    rows = [
        make_row(1),
        b"{broken",
        b'{"custom_id":"x"}',
        b'{"params":{"stream":true}}',
        make_row(5),
    ]
    relay.upload(KEY, b"\r\n".join(rows))

    relay.finish()

    lines = relay.lines(KEY)
    assert [line["result"]["type"] for line in lines] == [
        "succeeded", "rejected", "rejected", "rejected", "succeeded",
    ]  # fmt: skip
    codes = [line["result"].get("error", {}).get("code") for line in lines]
    assert codes == [None, "invalid_json", "no_params", "unsupported_parameter", None]
    assert lines[2]["result"]["error"]["line"] == 3
    assert relay.read(KEY, "retry.jsonl") == b"\n".join(rows[1:4]) + b"\n"
    assert relay.lines(KEY, "errors.jsonl") == lines[1:4]
    assert relay.simulator.calls()["results"] == 1  # only one batch has results


def test_params_are_sent_byte_for_byte(relay: Harness) -> None:
    params = b'{ "model":"claude-haiku-4-5", "max_tokens" : 5,"messages":[{"role":"user","content":"\\u00e9 \xc3\xa9"}]}'
    relay.upload(KEY, b'{"custom_id": "a",  "params": ' + params + b"}")

    relay.finish()

    import hashlib  # noqa: PLC0415

    assert list(relay.simulator.accepted_params()) == [hashlib.sha256(params).hexdigest()]


@pytest.mark.parametrize(
    "custom_id", ['"a b/c"', '"' + "x" * 500 + '"', '""', '"\\u00e9"', "17", "null", '"same"']
)
def test_any_custom_id_is_returned_unchanged(relay: Harness, custom_id: str) -> None:
    row = b'{"custom_id":%b,"params":{"model":"claude-haiku-4-5","max_tokens":5,"messages":[{"role":"user","content":"x"}]}}'
    relay.upload(KEY, b"\n".join([row % custom_id.encode()] * 2))

    relay.finish()

    assert relay.read(KEY, "results.jsonl").count(b'"custom_id":%b,' % custom_id.encode()) == 2


def test_only_retryable_rows_are_resent(tmp_path: Path) -> None:
    rows = [
        make_row(n, text)
        for n, text in enumerate(
            ["[fate:expired]", "[fate:overloaded_error]", "[fate:invalid_request_error]", "fine"],
            1,
        )
    ]
    with open_harness(tmp_path) as relay:
        relay.upload(KEY, b"\n".join(rows))
        relay.finish()

        types = [line["result"]["type"] for line in relay.lines(KEY)]
        assert types == ["succeeded", "succeeded", "errored", "succeeded"]
        assert sorted(relay.simulator.accepted_params().values()) == [1, 1, 2, 2]
        assert [(b["batch"], b["requests"]) for b in relay.manifest(KEY)["batches"]] == [
            ("00001-1", 4), ("00001-2", 2),
        ]  # fmt: skip
        assert relay.read(KEY, "retry.jsonl") == rows[2] + b"\n"
        assert relay.simulator.calls()["results"] == 2


def test_a_row_is_errored_after_its_last_attempt(relay: Harness) -> None:
    relay.deploy(attempts=2)
    relay.upload(KEY, make_row(1, "[fate:always-overloaded_error]") + b"\n" + make_row(2))

    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["outcome"] == "partial"
    assert manifest["counts"] == {"errored": 1, "succeeded": 1}
    assert manifest["errors"] == {"overloaded_error": 1}
    assert len(manifest["batches"]) == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the upload is empty"),
        (b"\n \r\n\t", "the upload is empty"),
        (bytes(range(256)) * 10, "not UTF-8 text (first invalid byte at offset 0)"),
        (
            b'{"custom_id":"a"}\n' * 3,
            "none of the 3 rows can be sent: no_params (3)",
        ),
    ],
)
def test_an_upload_without_a_sendable_row_is_rejected_with_a_reason(
    relay: Harness, body: bytes, reason: str
) -> None:
    relay.upload(KEY, body)

    relay.finish()

    (event,) = relay.events()
    assert event["type"] == "job.rejected"
    assert reason in event["data"]["reason"]
    assert relay.manifest(KEY)["outcome"] == "failed"
    assert relay.simulator.batches() == []


def test_an_object_without_a_reader_is_ignored(
    relay: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    relay.upload("in/table.avro", b"Obj\x01")

    assert relay.tick().open == 0
    assert [record.message for record in caplog.records] == [
        "object ignored: no reader for its suffix"
    ]


def test_a_repeated_s3_event_changes_nothing(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(5))
    for _ in range(3):
        relay.submit_message(event)

    relay.finish()
    relay.submit_message(event)
    relay.finish()

    assert len(relay.simulator.batches()) == 1
    assert [event["type"] for event in relay.events()].count("job.completed") == 1


def test_a_repeated_event_is_ignored_if_a_manifest_exists_without_a_job(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(5))
    relay.submit_message(event)
    relay.finish()
    for item in relay.dynamodb.scan(TableName="relay")["Items"]:
        relay.dynamodb.delete_item(TableName="relay", Key={n: item[n] for n in ("job", "item")})

    relay.submit_message(event)

    assert relay.tick().open == 0
    assert len(relay.simulator.batches()) == 1


def test_a_deploy_in_the_middle_changes_nothing_for_a_job(relay: Harness) -> None:
    relay.deploy(requests_per_batch=10, attempts=1)
    relay.context.left_s = 0  # plan stops before its first chunk
    relay.upload(KEY, make_upload(20) + b"\n" + make_row(21, "[fate:expired]"))
    relay.context.left_s = 900
    relay.deploy(requests_per_batch=7, attempts=3)

    relay.finish()

    manifest = relay.manifest(KEY)
    assert [batch["requests"] for batch in manifest["batches"]] == [10, 10, 1]
    assert manifest["counts"] == {"succeeded": 20, "expired": 1}


def test_plan_continues_where_it_stopped(relay: Harness) -> None:
    relay.deploy(requests_per_batch=4)
    seconds_left = iter([900, 900, 900, 0])  # acquire, first chunk, second chunk, stop
    relay.context.get_remaining_time_in_millis = lambda: next(seconds_left, 900) * 1000  # type: ignore[method-assign]
    relay.upload(KEY, b" ".join(make_upload(15).split(b"\n")))  # all on one line

    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 16))
    assert [line["custom_id"] for line in relay.lines(KEY)] == [f"row-{n}" for n in range(1, 16)]


def test_a_canceled_job_delivers_the_answers_it_has(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2, open_batches=1)
    relay.upload(KEY, make_upload(10))
    relay.tick()
    relay.tick()
    relay.upload(KEY + ".cancel", b"")

    relay.finish()

    manifest = relay.manifest(KEY)
    assert manifest["outcome"] == "canceled"
    assert manifest["rows"] == sum(manifest["counts"].values()) == 10
    assert manifest["counts"]["succeeded"] >= 2
    assert manifest["counts"]["canceled"] >= 4
    assert len(relay.read(KEY, "retry.jsonl").splitlines()) == manifest["counts"]["canceled"]


def test_canceling_a_job_cancels_its_open_batches(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=3600.0) as relay:
        relay.upload(KEY, make_upload(3))
        relay.tick()
        relay.upload(KEY + ".cancel", b"")
        relay.finish()

        assert relay.manifest(KEY)["counts"] == {"canceled": 3}
        assert relay.simulator.calls()["cancel"] == 1


def test_a_cancel_does_not_apply_to_a_later_upload(relay: Harness) -> None:
    relay.upload(KEY + ".cancel", b"")
    relay.pass_time(5)
    relay.upload(KEY, make_upload(3))

    relay.finish(15)

    assert relay.manifest(KEY)["outcome"] == "succeeded"


def test_a_late_s3_event_of_a_canceled_upload_sends_nothing(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(2))
    relay.pass_time(5)
    relay.upload(KEY + ".cancel", b"")
    for _ in range(12):
        relay.tick(3600.0)
    relay.submit_message(event)

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"canceled": 2}
    assert relay.simulator.calls().get("create", 0) == 0


def test_the_later_of_two_reordered_cancels_counts(relay: Harness) -> None:
    first = relay.put(KEY + ".cancel", b"")
    relay.pass_time(5)
    upload = relay.put(KEY, make_upload(2))
    relay.pass_time(5)
    second = relay.put(KEY + ".cancel", b"")
    for event in (upload, second, first):
        relay.submit_message(event)

    relay.finish()

    assert relay.manifest(KEY)["outcome"] == "canceled"


def test_small_jobs_do_not_wait_behind_a_large_one(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=600.0) as relay:
        relay.deploy(requests_per_batch=2, open_batches=3)
        relay.upload("in/huge.jsonl", make_upload(40))
        relay.tick()
        relay.upload("in/small.jsonl", make_upload(2, "small"))
        for _ in range(25):
            relay.tick()

        assert relay.manifest("in/small.jsonl")["outcome"] == "succeeded"
        assert max(relay.simulator.accepted().values()) == 1


def test_queue_limits_are_respected(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=float("inf")) as relay:
        relay.deploy(requests_per_batch=2, open_batches=50, queued_requests=7)
        relay.upload(KEY, make_upload(40))
        for _ in range(4):
            relay.tick()

        assert len(relay.simulator.batches()) == 3


def test_status_json_follows_the_job(tmp_path: Path) -> None:
    with open_harness(tmp_path, processing_s=120.0) as relay:
        relay.upload(KEY, make_upload(3))
        relay.tick()
        relay.tick()
        status_while_running = json.loads(relay.read(KEY, "status.json"))
        relay.finish()

        assert (status_while_running["status"], status_while_running["rows_planned"]) == (
            "RUNNING",
            3,
        )
        assert status_while_running["batches"] == {"IN_PROGRESS": 1}
        assert json.loads(relay.read(KEY, "status.json"))["status"] == "DONE"


def test_work_files_are_tagged_when_the_job_is_done(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    relay.finish()

    keys = [
        entry["Key"]
        for entry in relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="work/")["Contents"]
    ]

    assert len(keys) == 4
    for key in keys:
        tags = relay.s3.get_object_tagging(Bucket=RESULTS, Key=key)["TagSet"]
        assert tags == [{"Key": "done", "Value": "true"}]


def test_work_files_of_a_killed_stage_are_tagged_too(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3))
    (job,) = relay.items.unfinished().jobs
    stray = f"work/{job.job}/00001-1/of-one-that-died.requests.json"
    relay.s3.put_object(Bucket=RESULTS, Key=stray, Body=b"half of it")

    relay.finish()

    tags = relay.s3.get_object_tagging(Bucket=RESULTS, Key=stray)["TagSet"]
    assert tags == [{"Key": "done", "Value": "true"}]


@pytest.mark.parametrize(
    "key", ["a b/ü+%&.jsonl", "../../etc/x.jsonl", "noname/.jsonl", "x" * 900 + ".jsonl"]
)
def test_unusual_object_keys_are_accepted(relay: Harness, key: str) -> None:
    relay.upload(key, make_upload(2))

    relay.finish()

    (completed,) = [event for event in relay.events() if event["type"] == "job.completed"]
    assert completed["data"]["upload"]["key"] == key
    folder = completed["data"]["results"].removeprefix(f"s3://{RESULTS}/")
    assert relay.s3.head_object(Bucket=RESULTS, Key=f"{folder}results.jsonl")["ContentLength"] > 0


def test_a_replaced_object_is_another_upload(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(3, "first"))
    relay.put(KEY, b"{}")
    relay.submit_message(event)

    relay.finish()

    assert len(relay.lines(KEY)) == 3
    assert relay.s3.list_object_versions(Bucket=UPLOADS)["Versions"][0]["Key"] == KEY


def test_every_fault_of_the_simulator_is_tested() -> None:
    """A new fault needs a test in test_lost_answers.py, test_refusals.py or test_faults.py."""
    assert len(FAULTS) == 51
