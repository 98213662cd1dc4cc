"""The cost ledger: each job is booked once, and the files of the months add up to the manifests."""

import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, product
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from functions.adapters.cost_ledger import CostLedger
from functions.adapters.table import serialize
from functions.assembling.reopen import reopen
from functions.model.cost_ledger import CostEntry
from functions.model.items.work_item import JOB, Step
from functions.model.items.work_message import WorkMessage
from functions.polling.ledger_file import write_ledger_files
from functions.polling.phases import MIN_TIME_LEFT_S, Phases
from functions.results import results
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, TABLE, Harness, make_row, make_upload
from tests.verification.crash.crash_harness import open_crash_harness

NOVEMBER, DAY = "ledger/2026-11.csv", "ledger/days/{}.csv"
DAY_S = 24 * 3600.0
UNAVAILABLE = S3ErrorResponse(503, "SlowDown")


@pytest.fixture(autouse=True)
def noon_in_november(relay: Harness) -> None:
    relay.moment = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)


def read_ledger(relay: Harness, key: str = NOVEMBER) -> list[dict[str, str]]:
    """Return the lines of a month's file; none if there is no file."""
    listed = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=key).get("Contents", [])
    if not listed:
        return []
    body = relay.s3.get_object(Bucket=RESULTS, Key=key)["Body"].read()
    return list(csv.DictReader(body.decode("utf-8-sig").splitlines()))


def finish_job(relay: Harness, key: str, body: bytes) -> dict[str, Any]:
    relay.upload(key, body)
    relay.finish()
    return relay.manifest(key)


def test_a_line_says_what_a_job_cost(relay: Harness) -> None:
    manifest = finish_job(relay, "team/march.jsonl", make_upload(3) + b"{broken")

    (line,) = read_ledger(relay)
    tokens = [usage["input_tokens"] for usage in manifest["usage"].values()]
    assert line == {
        "day": "2026-11-10",
        "folder": "team",
        "label": manifest["name"],
        "job": manifest["job"],
        "upload": "s3://uploads/team/march.jsonl",
        "outcome": "partial",
        "rows": "4",
        "succeeded": "3",
        "input_tokens": str(sum(tokens)),
        "output_tokens": line["output_tokens"],
        "cache_read_tokens": "0",
        "cache_write_tokens": "0",
        "cost_usd": f"{manifest['cost_usd']:.6f}",
        "cost_usd_known": f"{manifest['cost_usd']:.6f}",
        "cost_problem": "",
        "ended_at": manifest["times"]["ended_at"],
        "manifest": f"s3://{RESULTS}/{relay.results_folder('team/march.jsonl')}/manifest.json",
    }
    assert int(line["output_tokens"]) > 0


def test_the_file_adds_up_to_the_manifests(relay: Harness) -> None:
    manifests = [
        finish_job(relay, f"folder-{number}/rows.jsonl", make_upload(number, f"job {number}"))
        for number in range(1, 5)
    ]
    relay.tick(601)

    lines = read_ledger(relay)
    assert [line["job"] for line in lines] == [manifest["job"] for manifest in manifests]
    costs = [Decimal(str(manifest["cost_usd"])) for manifest in manifests]
    assert sum(Decimal(line["cost_usd"]) for line in lines) == sum(costs) > 0


def test_a_new_job_is_in_the_file_after_ten_minutes(relay: Harness) -> None:
    finish_job(relay, "first.jsonl", make_upload(1, "first"))
    finish_job(relay, "second.jsonl", make_upload(1, "second"))
    assert len(read_ledger(relay)) == 1
    (entry,) = relay.items.unfinished().cost_entries
    assert datetime.fromtimestamp(entry.expires, UTC) >= relay.moment + 13 * timedelta(days=30.5)

    relay.tick(601)

    assert [line["label"].partition("-")[0] for line in read_ledger(relay)] == ["first", "second"]
    assert relay.items.unfinished().cost_entries == []


def test_a_job_is_booked_once_though_its_assembly_is_repeated(relay: Harness) -> None:
    manifest = finish_job(relay, "march.jsonl", make_upload(1))
    message = WorkMessage(schema=1, job=manifest["job"], item=JOB, next_step=Step.ASSEMBLE)
    for _ in range(2):
        results(relay.results, message, relay.context)  # type: ignore[arg-type]
        relay.tick(601)

    assert len(read_ledger(relay)) == 1


def test_a_deleted_file_comes_back_on_the_next_day(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", make_upload(1))
    relay.s3.delete_object(Bucket=RESULTS, Key=NOVEMBER)

    relay.tick(DAY_S)

    assert len(read_ledger(relay)) == 1


def test_a_job_is_in_the_file_of_the_month_in_which_it_ended(relay: Harness) -> None:
    finish_job(relay, "november.jsonl", make_upload(1, "november"))
    relay.moment = datetime(2026, 12, 1, 0, 5, tzinfo=UTC)
    finish_job(relay, "december.jsonl", make_upload(1, "december"))
    relay.tick(601)

    assert [line["day"] for line in read_ledger(relay)] == ["2026-11-10"]
    assert [line["day"] for line in read_ledger(relay, "ledger/2026-12.csv")] == ["2026-12-01"]


def test_an_unknown_cost_is_an_empty_cell_with_its_reason(relay: Harness) -> None:
    usage = '{"input_tokens": 0, "output_tokens": 0, "inference_geo": "eu"}'
    finish_job(relay, "march.jsonl", make_row(1, f"[usage:{usage}]"))

    (line,) = read_ledger(relay)
    assert (line["cost_usd"], line["cost_usd_known"]) == ("", "0.000000")
    assert "no price for inference_geo=eu in the usage of claude-haiku-4-5" in line["cost_problem"]


def test_a_job_without_a_valid_row_costs_nothing(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", b"{broken")

    (line,) = read_ledger(relay)
    assert (line["outcome"], line["cost_usd"], line["rows"]) == ("failed", "0.000000", "1")


def test_a_job_that_cannot_be_assembled_is_booked_with_an_unknown_cost(tmp_path: Path) -> None:
    with open_crash_harness(tmp_path) as relay:
        relay.deploy(requests_per_batch=1)
        relay.upload("march.jsonl", make_upload(2))
        (job,) = relay.items.unfinished().jobs
        key = {"job": {"S": job.job}, "item": {"S": "00002-1"}}
        relay.dynamodb.delete_item(TableName=TABLE, Key=key)
        relay.items.transition(
            job, {}, expected={"status": job.status}, increments={"chunks_finished": 1}
        )
        for _ in range(140):
            relay.tick(6 * 3600)
        ended = relay.items.job(job.job)
        assert ended is not None
        assert ended.ended_at is not None

        (line,) = read_ledger(relay, f"ledger/{ended.ended_at[:7]}.csv")
    assert (line["rows"], line["cost_usd"], line["manifest"]) == ("2", "", "")
    assert line["cost_problem"] == "the results were not assembled"


def test_an_entry_that_is_replaced_while_it_is_written_is_written_again(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its job was reopened, and ends between the write of the day's file and the close of the entry."""
    relay.upload("march.jsonl", make_upload(1))
    with reject_requests(relay.s3, "PutObject", UNAVAILABLE, "ledger/"):
        relay.finish()
    job_id, close = relay.manifest("march.jsonl")["job"], CostLedger.close

    def replace_first(ledger: CostLedger, entry: CostEntry) -> None:
        monkeypatch.undo()
        assert reopen(relay.results, "reassemble", job_id)["accepted"]
        relay.items.start_assembly_if_complete(job_id)
        message = WorkMessage(schema=1, job=job_id, item=JOB, next_step=Step.ASSEMBLE)
        results(relay.results, message, relay.context)  # type: ignore[arg-type]
        close(ledger, entry)

    monkeypatch.setattr(CostLedger, "close", replace_first)
    relay.tick(601)

    assert [entry.of_job for entry in relay.items.unfinished().cost_entries] == [job_id]
    relay.tick(601)
    assert relay.items.unfinished().cost_entries == []


def test_a_name_that_looks_like_a_formula_is_guarded(relay: Harness) -> None:
    finish_job(relay, "=cmd/march.jsonl", make_upload(1))

    assert [line["folder"] for line in read_ledger(relay)] == ["'=cmd"]


def test_entries_wait_for_a_bucket_that_is_unavailable(relay: Harness) -> None:
    relay.upload("march.jsonl", make_upload(1))
    with reject_requests(relay.s3, "PutObject", UNAVAILABLE, "ledger/"):
        relay.finish()
        assert len(relay.items.unfinished().cost_entries) == 1
    relay.tick(601)

    assert len(read_ledger(relay)) == 1
    assert relay.items.unfinished().cost_entries == []


def test_a_month_that_takes_several_polls_is_written_day_by_day(relay: Harness) -> None:
    """Each poll has time for some 160 lines, and leaves the time of later phases."""
    relay.moment = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    manifest = finish_job(relay, "march.jsonl", make_upload(1))
    (entry,) = relay.items.unfinished().cost_entries or entries_of(relay, "2026-11-30")
    days, jobs = [f"2026-11-{day:02}" for day in range(1, 30)], range(10)
    for day, number in product(days, jobs):
        ended_at = f"{day}T12:00:00.{number:03}Z"
        add_entry(relay, replace(entry, ended_at=ended_at, item=f"{ended_at}/{number}", open="open",
                                 status_key=f"LEDGER#{ended_at}"))  # fmt: skip

    polls, written_at = 0, None
    while relay.items.unfinished().cost_entries:
        seconds = (40.0 - calls / 20 for calls in count())
        phases = Phases(lambda seconds=seconds: next(seconds))  # type: ignore[misc]
        written_at = write_ledger_files(relay.poll, relay.items.unfinished(), phases, None)
        assert next(seconds) > MIN_TIME_LEFT_S["reconcile"]
        polls += 1

    assert polls > 1
    assert written_at is not None
    lines = read_ledger(relay)
    assert [line["day"] for line in lines] == [*(d for d in days for _ in jobs), "2026-11-30"]
    assert lines[-1]["job"] == manifest["job"]


def test_a_day_that_a_killed_poll_left_is_in_the_month_after_the_next(relay: Harness) -> None:
    relay.upload("march.jsonl", make_upload(1))
    with reject_requests(relay.s3, "PutObject", UNAVAILABLE, NOVEMBER):
        relay.finish()
    assert read_ledger(relay) == []
    assert len(relay.items.unfinished().cost_entries) == 1

    relay.tick(601)

    assert len(read_ledger(relay)) == 1
    assert relay.items.unfinished().cost_entries == []


def test_what_the_version_before_booked_on_a_day_is_in_the_file_on_the_next(
    relay: Harness,
) -> None:
    """After a rollback, it wrote the month's file alone, and closed the entry."""
    finish_job(relay, "march.jsonl", make_upload(1))
    (entry,) = entries_of(relay, "2026-11-10")
    ended_at = "2026-11-10T13:00:00.000Z"
    add_entry(relay, replace(entry, ended_at=ended_at, item=f"{ended_at}/other"))

    relay.tick(DAY_S)

    assert len(read_ledger(relay)) == 2


def test_a_deleted_file_of_a_day_is_read_from_the_table(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", make_upload(1))
    relay.s3.delete_object(Bucket=RESULTS, Key=DAY.format("2026-11-10"))

    relay.tick(DAY_S)

    assert len(read_ledger(relay)) == 1


def test_only_files_of_days_that_exist_are_read(relay: Harness) -> None:
    for day in (10, 20):
        relay.moment = datetime(2026, 11, day, 12, 0, tzinfo=UTC)
        finish_job(relay, f"{day}.jsonl", make_upload(1))
    with reject_requests(relay.s3, "GetObject", UNAVAILABLE, "ledger/days/", after=99) as urls:
        relay.tick(DAY_S)

    keys = [DAY.format(day) for day in ("2026-11-10", "2026-11-20")]
    assert [url.partition(f"{RESULTS}/")[2] for url in urls] == keys
    assert [line["day"] for line in read_ledger(relay)] == ["2026-11-10", "2026-11-20"]


def entries_of(relay: Harness, day: str) -> list[CostEntry]:
    return [*relay.poll.cost_ledger.entries("ledger/2026-11", day, day)]


def add_entry(relay: Harness, entry: CostEntry) -> None:
    item = serialize(msgspec.to_builtins(entry))
    relay.dynamodb.put_item(TableName=TABLE, Item=item)
