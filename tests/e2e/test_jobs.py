"""Whole jobs, from an upload to SNS and the results, with IAM enforced. Most of them run at once."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from local.cloud import Cloud
from local.simulator import Simulator
from local.subscriber import subscribe
from tests.e2e.relay import Relay, Upload, jsonl, kinds, request, rows
from tests.unit.parquet_files import parquet_file

ROOT = Path(__file__).parent.parent.parent
SAMPLES = ROOT.parent / "shared" / "samples"
needs_samples = pytest.mark.skipif(
    not SAMPLES.exists(), reason="the samples are not beside this clone"
)
TEMPLATE = b"""
[request.params]
model = "claude-haiku-5-5"
max_tokens = 4096
messages = [{ role = "user", content = "Classify: {{text}}" }]
"""
EXAMPLE = (ROOT / "examples" / "questions.jsonl").read_bytes()
OPTIONS = {
    "of-samples/_relay.toml": b'models = { "*" = "claude-haiku-5-5" }',
    "parquet/_relay.toml": b'outputs = ["parquet"]\n' + TEMPLATE,
}


def rows_of_every_fate() -> tuple[list[bytes], Counter[str]]:
    """Return a thousand rows, and how many have each fate."""
    fates = {7: "expired", 31: "overloaded_error", 53: "invalid_request_error"}
    uploaded_rows, sent = [], Counter[str]()
    for row in range(1, 1001):
        fate = fates.get(row % 100, "") or fates.get(row % 100 - 1, "")
        fate = fate or ("expired" if row % 100 == 90 else "")
        fate = fate or ("overloaded_error" if row % 100 == 91 else "")
        uploaded_rows.append(
            request(f"trouble {row}" + (f" [fate:{fate}]" if fate else ""), f"r{row}")
        )
        sent[fate] += 1
        if row % 100 == 99:
            uploaded_rows[-1] = b'{"custom_id": "torn", "params": {"model": '
            sent["rejected"] += 1
            sent[""] -= 1
    return uploaded_rows, sent


def uploads_of_all_tests() -> list[tuple[str, bytes]]:
    """Return the key and the body of each upload that needs nothing but time."""
    samples = [SAMPLES / "bedrock-records.jsonl", *sorted((SAMPLES / "odd").glob("*"))]
    return [
        ("long.jsonl", jsonl(rows(25_000, "long"))),
        ("thousand.jsonl", jsonl(rows_of_every_fate()[0])),
        ("team/a b/questions.jsonl", EXAMPLE),
        ("short.jsonl", jsonl(rows(5, "short"))),
        ("once.jsonl", jsonl(rows(3, "once"))),
        ("twice.jsonl", jsonl(rows(2, "first time"))),
        ("twice.jsonl", jsonl(rows(2, "second time"))),
        ("parquet/a.parquet", parquet_file("SELECT 'one' AS text")),
        ("picture.jsonl", bytes(range(256)) * 300),
        *((f"of-{file.parent.name}/{file.name}", file.read_bytes()) for file in samples if file.exists()),
    ]  # fmt: skip


class Jobs:
    """The finished jobs of all uploads.

    Attributes:
        relay: with all events of the jobs.
        uploads: in the order of their upload.
    """

    def __init__(self, relay: Relay, uploads: list[Upload]) -> None:
        self.relay, self.uploads = relay, uploads

    def of(self, prefix: str) -> list[Upload]:
        return [upload for upload in self.uploads if upload.key.startswith(prefix)]


@pytest.fixture(scope="module")
def jobs(cloud: Cloud, outputs: dict[str, str], simulator: Simulator) -> Iterator[Jobs]:
    """Upload everything, and poll until every job has ended, and three times more."""
    with subscribe(cloud, outputs["EventsTopicArn"]) as subscriber:
        relay = Relay(cloud, outputs, simulator, subscriber)
        relay.end_lease("relay", "poll")
        for key, body in OPTIONS.items():
            relay.upload(key, body)
        ignored = relay.upload("ignored/report.pdf", b"%PDF-1.7")
        uploads = [relay.upload(key, body) for key, body in uploads_of_all_tests()]
        relay.finish(*uploads, timeout_s=240)
        for _ in range(3):
            relay.poll()
        relay.listen(wait_s=2)
        yield Jobs(relay, [ignored, *uploads])


def test_the_example_gets_a_result_for_every_row_in_order(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("team/a b/questions.jsonl")
    uploaded_rows = EXAMPLE.splitlines()

    lines = relay.lines(upload)
    assert [line["row"] for line in lines] == list(range(1, len(uploaded_rows) + 1))
    assert Counter(kinds(lines)) == {"succeeded": len(uploaded_rows) - 4, "rejected": 4}
    assert len(relay.lines(upload, "errors.jsonl")) == 4
    # What the API was sent is what stood in the file, to the byte.
    params = uploaded_rows[0].partition(b'"params": ')[2][:-1]
    assert relay.simulator.accepted_params()[sha256(params).hexdigest()] >= 1


def test_a_thousand_rows_with_every_kind_of_failure_come_out_in_order(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("thousand.jsonl")
    uploaded_rows, sent = rows_of_every_fate()

    assert sent == {"": 910, "expired": 30, "overloaded_error": 30,
                    "invalid_request_error": 20, "rejected": 10}  # fmt: skip
    lines, manifest = relay.lines(upload), relay.manifest(upload)
    assert [line["row"] for line in lines] == list(range(1, 1001))
    assert [line["custom_id"] for line in lines if line["row"] % 100 != 99] == [
        f"r{row}" for row in range(1, 1001) if row % 100 != 99
    ]
    assert Counter(kinds(lines)) == {"succeeded": 970, "errored": 20, "rejected": 10}
    assert manifest["counts"] == {"succeeded": 970, "errored": 20, "rejected": 10}
    for line, raw in zip(lines, uploaded_rows, strict=True):
        if line["result"]["type"] != "errored":
            continue
        params = raw.partition(b'"params": ')[2][:-1]
        assert relay.simulator.accepted_params()[sha256(params).hexdigest()] == 1
    batches = [
        (batch["batch"], batch["attempt"], batch["requests"]) for batch in manifest["batches"]
    ]
    assert batches == [("00001-1", 1, 990), ("00001-2", 2, 60)]
    assert all(batch["batch_id"].startswith("msgbatch_") for batch in manifest["batches"])
    assert {batch["batch_id"] for batch in manifest["batches"]} <= {
        batch["id"] for batch in relay.simulator.batches()
    }


def test_a_job_ends_with_one_event_id_however_often_it_is_delivered(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("once.jsonl")

    completed = relay.deliveries_of(upload, "job.completed")
    assert {delivery.event["id"] for delivery in completed} == {f"{upload.job}/ended"}
    [kind] = {delivery.attributes["outcome"] for delivery in completed}
    assert kind == "succeeded"


def test_uploading_the_same_key_again_starts_another_job(jobs: Jobs) -> None:
    relay, (first, second) = jobs.relay, jobs.of("twice.jsonl")

    assert first.job != second.job
    assert kinds(relay.lines(first)) == kinds(relay.lines(second)) == ["succeeded"] * 2


def test_a_long_upload_is_processed_in_chunks_alongside_a_short_one(jobs: Jobs) -> None:
    relay, (long, short) = jobs.relay, [*jobs.of("long.jsonl"), *jobs.of("short.jsonl")]

    batches = relay.manifest(long)["batches"]
    assert [batch["requests"] for batch in batches] == [10_000, 10_000, 5_000]
    results = relay.read(long, "results.jsonl").splitlines()
    assert [json.loads(line)["custom_id"] for line in results] == [
        f"id-{number}" for number in range(1, 25_001)
    ]
    assert kinds(relay.lines(short)) == ["succeeded"] * 5


@needs_samples
def test_records_of_bedrock_come_back_in_its_own_shape(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("of-samples/")
    body = (SAMPLES / "bedrock-records.jsonl").read_bytes()

    exported = relay.lines(upload, "bedrock/bedrock-records.jsonl.out")
    assert kinds(relay.lines(upload)) == ["succeeded"] * len(body.strip().splitlines())
    assert all(line["modelOutput"]["type"] == "message" for line in exported)


@needs_samples
def test_a_table_waits_for_its_template_and_comes_back_with_answers(relay: Relay) -> None:
    upload = relay.upload("tables/tickets.tsv", (SAMPLES / "tickets.tsv").read_bytes())
    relay.poll_until(lambda: bool(relay.deliveries_of(upload, "job.waiting")), "job.waiting")

    relay.upload("tables/tickets.tsv.relay.toml", TEMPLATE)
    relay.finish(upload)

    table = csv.DictReader(io.StringIO(relay.read(upload, "results.csv").decode("utf-8-sig")))
    statuses = {row["status"] for row in table}
    assert table.fieldnames is not None
    assert list(table.fieldnames[:3]) == ["text", "label", "answer"]
    assert statuses == {"succeeded"}


@needs_samples
def test_odd_files_get_a_line_for_each_row_which_is_answered_or_says_what_is_wrong(
    jobs: Jobs,
) -> None:
    relay, uploads = jobs.relay, jobs.of("of-odd/")

    lines = [line for upload in uploads for line in relay.lines(upload)]
    rejected = [line["result"]["error"] for line in lines if line["result"]["type"] == "rejected"]
    assert Counter(kinds(lines)) == {"succeeded": 24, "rejected": 6}
    assert {error["code"] for error in rejected} == {"invalid_json", "unsupported_parameter"}
    assert all(error["message"] for error in rejected)


def test_parquet_is_read_and_written_with_the_layer(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("parquet/")

    assert kinds(relay.lines(upload)) == ["succeeded"]
    assert relay.read(upload, "results.parquet").startswith(b"PAR1")


def test_an_object_that_is_no_upload_is_ignored_with_one_log_line(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("ignored/")

    assert len(relay.log_lines("submit", upload.key)) == 1
    assert relay.deliveries_of(upload, "job.planned", "job.completed", "job.rejected") == []


def test_an_upload_that_is_not_text_is_rejected_with_a_reason(jobs: Jobs) -> None:
    relay, (upload,) = jobs.relay, jobs.of("picture.jsonl")

    delivery, *_ = relay.deliveries_of(upload, "job.rejected", "job.completed")
    assert delivery.event["data"]["reason"]
