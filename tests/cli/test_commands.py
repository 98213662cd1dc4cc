"""Each command against a stack whose real stages have run jobs."""

from __future__ import annotations

import io
import json
import os
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from cli import progress
from cli.jobs import Jobs
from functions.adapters.cost_ledger import CostLedger
from functions.adapters.table import Table, serialize
from functions.assembling.reopen import reopen
from functions.model.ids import job_id
from functions.model.items.batch import batch_key
from functions.model.usage_comparison import COLUMNS, Figures, Period, check_line
from functions.readers.tables import csv_line
from tests.cli.conftest import CommandLine, deliver, deployment_of
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import (
    RESULTS,
    UPLOADS,
    Harness,
    make_row,
    make_upload,
    open_moto_harness,
)
from tests.unit.factories import AT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "team/march.jsonl"
REJECTED = b'{"custom_id": "no-params"}'


def finished(stack: Harness, key: str = KEY, body: bytes = b"") -> str:
    """Run a job to its end; return its id."""
    stack.upload(key, body or make_upload(3))
    stack.finish()
    return str(stack.manifest(key)["job"])


def running(stack: Harness, key: str = KEY) -> str:
    """Claim and plan an upload; return the id of its job."""
    stack.simulator.processing_s = 36_000.0
    stack.upload(key, make_upload(3))
    stack.tick()
    [job] = [job for job in stack.items.unfinished().jobs if job.key == key]
    return job.job


def add_ledger_entries(stack: Harness, count: int, day: date | None = None) -> None:
    """Add later entries, or those of a day, like that of a finished job to the ledger."""
    month = f"ledger/{stack.moment:%Y-%m}"
    [entry] = CostLedger(Table("relay", stack.dynamodb)).entries(month)
    for number in range(count):
        ended = f"{day or '9999'}T{number:02}"
        item = f"{ended}/job"
        added = msgspec.structs.replace(
            entry,
            job=f"ledger/{day:%Y-%m}" if day else month,
            item=item,
            of_job=item,
            label=f"job-{number}",
        )
        stack.dynamodb.put_item(TableName="relay", Item=serialize(msgspec.to_builtins(added)))


def test_ls_lists_running_jobs_before_ended_ones(stack: Harness, relay: CommandLine) -> None:
    ended = finished(stack)
    unfinished = running(stack, "team/april.jsonl")

    jobs = relay.json("ls")

    assert [(job["job"], job["status"], job["outcome"]) for job in jobs] == [
        (unfinished, "RUNNING", None),
        (ended, "DONE", "succeeded"),
    ]
    assert [job["job"] for job in relay.json("ls", "--running")] == [unfinished]
    table = relay("ls").stdout
    assert f"april-{unfinished[:8]}" in table
    assert "3 of 3" in table


def test_ls_reads_only_the_entries_that_it_lists(tmp_path: Path) -> None:
    read: list[int] = []
    with open_moto_harness(tmp_path) as stack:  # it has pages
        finished(stack)
        add_ledger_entries(stack, 50)
        stack.dynamodb.meta.events.register(
            "after-call.dynamodb.Query", lambda parsed, **_: read.append(len(parsed["Items"]))
        )

        listed = CommandLine(deployment_of(stack)).json("ls", "--last", "3")

    assert [job["name"] for job in listed] == ["job-49", "job-48", "job-47"]
    assert sum(read) == 3


def test_ls_goes_back_over_months(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)
    add_ledger_entries(stack, 1, date(date.today().year - 1, 12, 31))  # noqa: DTZ011 - as far back as a day may be

    assert [entry["name"] for entry in relay.json("ls")] == [f"march-{job[:8]}", "job-0"]


def test_a_job_that_advances_while_it_is_listed_is_listed_once(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status is a query. A job may be found by several."""
    running(stack)
    monkeypatch.setattr("cli.jobs.RUNNING", ("RUNNING", "RUNNING"))

    assert [entry["status"] for entry in relay.json("ls")] == ["RUNNING"]


def test_a_job_is_named_by_id_name_prefix_or_key(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    for name in (job, job[:6], f"march-{job[:8]}", KEY):
        assert relay.json("why", name)["job"] == job


def test_a_key_means_the_newest_of_its_jobs(stack: Harness, relay: CommandLine) -> None:
    finished(stack)
    stack.pass_time(60)
    second = running(stack)

    assert relay.json("why", KEY)["job"] == second


@pytest.mark.parametrize("name", ["ffff", "no/such.jsonl", "f" * 20])
def test_a_missing_job_is_reported_in_a_sentence(relay: CommandLine, name: str) -> None:
    result = relay("why", name, code=3)

    assert result.stderr.startswith(f"relay: there is no job {name} ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_job_of_a_newer_version_is_reported_in_one_sentence(
    stack: Harness, relay: CommandLine
) -> None:
    job = running(stack)
    key = {"job": {"S": job}, "item": {"S": "00001-1"}}
    item = stack.dynamodb.get_item(TableName="relay", Key=key)["Item"]
    stack.dynamodb.put_item(TableName="relay", Item=item | {"schema": {"N": "2"}})

    result = relay("diagram", job, code=1)

    assert "deploy that version again" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_prefix_of_several_jobs_names_them(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)
    key = {"job": {"S": job}, "item": {"S": "#"}}
    item = stack.dynamodb.get_item(TableName="relay", Key=key)["Item"]
    other = job[:6] + "f" * 14
    stack.dynamodb.put_item(TableName="relay", Item=item | {"job": {"S": other}})

    result = relay("why", job[:5], code=2)

    assert job in result.stderr
    assert other in result.stderr


# -- watch and why


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


# -- send


def test_a_sent_file_becomes_the_job_that_was_printed(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "march.jsonl").write_bytes(make_upload(3))

    sent = relay.json("send", str(tmp_path / "march.jsonl"), "--as", "team/")
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["key"] == KEY
    assert stack.manifest(KEY)["job"] == sent["job"]


def test_a_job_has_one_name_from_the_upload_on(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "March, ü.jsonl").write_bytes(make_upload(1))

    sent = relay.json("send", str(tmp_path / "March, ü.jsonl"))
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["name"] == stack.manifest(sent["key"])["name"]
    assert relay.json("why", sent["name"])["job"] == sent["job"]


def test_links_in_the_folder_of_a_user_do_not_restrict_keys(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "march.jsonl").write_bytes(make_upload(2))
    (tmp_path / "team").symlink_to("/")
    monkeypatch.chdir(tmp_path)

    relay("send", "march.jsonl", "--as", KEY)

    assert KEY in _uploaded(stack)


def test_send_waits_for_the_end(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "march.jsonl"
    file.write_bytes(make_upload(2))
    waits: list[Callable[[], object]] = [lambda: deliver(stack, "march.jsonl")]
    monkeypatch.setattr(
        "cli.progress.sleep", lambda _seconds: waits.pop()() if waits else stack.tick()
    )

    states = relay.json_lines("send", str(file), "--wait")

    assert [states[1]["status"], states[-1]["outcome"]] == ["UPLOADED", "succeeded"]


@pytest.mark.parametrize("beside", [True, False])
def test_options_are_sent_before_the_file(
    stack: Harness, relay: CommandLine, tmp_path: Path, *, beside: bool
) -> None:
    (tmp_path / "rows.csv").write_text("question\nWhy?\n")
    name = "rows.csv.relay.toml" if beside else "mine.toml"
    (tmp_path / name).write_text(TEMPLATE)
    arguments = [] if beside else ["--options", str(tmp_path / name)]

    sent = relay.json("send", str(tmp_path / "rows.csv"), *arguments)
    deliver(stack, sent["key"])
    stack.finish()

    assert stack.manifest("rows.csv")["counts"] == {"succeeded": 1}


TEMPLATE = """
[request.params]
model = "claude-haiku-4-5"
max_tokens = 64
messages = [{ role = "user", content = "{{question}}" }]
"""


@pytest.mark.parametrize(
    ("name", "content", "sentence", "code"),
    [
        ("rows.txt", b"{}", ".xlsx or .parquet is read; docs/formats.md names", 2),
        ("folder", None, "is not a file: name files, such as", 2),
        ("rows.jsonl", b"", "is empty", 2),
        ("rows.jsonl", b"%PDF-1.7 ...", "is a PDF", 2),
        ("rows.xlsx", b"PK\x03\x04 word/document.xml", "rows.xlsx is", 2),
        ("rows.csv.relay.toml", b"x", "is an options file: pass it with --options", 2),
        ("missing.jsonl", None, "there is no file", 3),
    ],
)
def test_an_unreadable_file_is_reported_before_anything_is_sent(
    relay: CommandLine, tmp_path: Path, name: str, content: bytes | None, sentence: str, code: int
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / name
    good.write_bytes(make_upload(1))
    if content is not None:
        bad.write_bytes(content)
    elif name == "folder":
        bad.mkdir()

    assert_nothing_is_sent(relay, sentence, code, str(good), str(bad))


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--as", "rows.parq"], "would be ignored: give the key a suffix", 2),
        (["--as", "s3://uploads/rows.jsonl"], "write one such as team/march.jsonl", 2),
        (["--as", "/rows.jsonl"], "write one such as team/march.jsonl", 2),
        (["--as", "../"], "write one such as team/march.jsonl", 2),
        (["--options", "none.toml"], "there is no file none.toml", 3),
    ],
)
def test_an_unusable_option_is_reported_before_anything_is_sent(
    relay: CommandLine, tmp_path: Path, arguments: list[str], sentence: str, code: int
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(make_upload(1))

    assert_nothing_is_sent(relay, sentence, code, str(tmp_path / "rows.jsonl"), *arguments)


@pytest.mark.parametrize("command", ["send", "check"])
def test_a_name_that_is_not_text_is_reported(
    relay: CommandLine, tmp_path: Path, command: str
) -> None:
    file = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    file.write_bytes(make_upload(1))

    result = relay(command, str(file), code=2)

    assert r"caf\udce9.jsonl' is not UTF-8: rename the file" in result.stderr


def assert_nothing_is_sent(relay: CommandLine, sentence: str, code: int, *arguments: str) -> None:
    result = relay("send", *arguments, code=code)

    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not relay.deployment.s3.list_objects_v2(Bucket=UPLOADS).get("Contents")


def test_an_unusable_options_file_is_reported_before_anything_is_sent(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(make_upload(1))
    (tmp_path / "rows.jsonl.relay.toml").write_text("modle = 1")

    result = relay("send", str(tmp_path / "rows.jsonl"), code=2)

    assert "modle" in result.stderr
    assert not stack.s3.list_objects_v2(Bucket=UPLOADS).get("Contents")


# -- get


def test_get_downloads_every_file_and_resumes(
    stack: Harness, relay: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = finished(stack)
    folder = tmp_path / "team" / "march" / job
    expected = stack.read(KEY, "results.jsonl")
    folder.mkdir(parents=True)
    (folder / "results.jsonl.partial").write_bytes(expected[:10])
    ranges = record_ranges(stack, monkeypatch)

    relay("get", job, "--into", str(tmp_path))

    assert (folder / "results.jsonl").read_bytes() == expected
    assert ranges["results.jsonl"] == ["bytes=10-"]
    assert {path.name for path in folder.iterdir()} >= {"errors.jsonl", "manifest.json", "status.json"}  # fmt: skip
    relay("get", job, "--into", str(tmp_path))
    assert ranges["results.jsonl"] == ["bytes=10-"]


def record_ranges(stack: Harness, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Record the range of each download, by the name of the file."""
    ranges: dict[str, list[str]] = {}
    get_object = stack.s3.get_object

    def recording(**arguments: str) -> object:
        name = arguments["Key"].rpartition("/")[2]
        ranges.setdefault(name, []).append(arguments.get("Range", ""))
        return get_object(**arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(stack.s3, "get_object", recording)
    return ranges


def test_get_refuses_bytes_that_differ_from_the_manifest(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    key = f"results/team/march/{job}/results.jsonl"
    stack.s3.put_object(Bucket=RESULTS, Key=key, Body=b"x" * len(stack.read(KEY, "results.jsonl")))

    result = relay("get", job, "--into", str(tmp_path), code=1)

    assert "results.jsonl is not what the manifest says" in result.stderr
    assert not [*tmp_path.rglob("results.jsonl*")]


def test_get_fails_if_a_file_of_the_manifest_is_gone(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    stack.s3.delete_object(Bucket=RESULTS, Key=f"results/team/march/{job}/results.jsonl")

    result = relay("get", job, "--into", str(tmp_path), code=1)

    assert f"march-{job[:8]} names results.jsonl, missing from S3" in result.stderr
    assert [*tmp_path.rglob("errors.jsonl")]  # all others are downloaded


def test_a_job_whose_duplicate_came_late_is_found(
    stack: Harness, relay: CommandLine, tmp_path: Path
) -> None:
    job = finished(stack)
    stack.pass_time(60)
    [batch] = stack.items.batches(job)
    duplicate = stack.ownership.build("msgbatch_twin", batch_key(batch), duplicate=True)
    assert stack.items.record_duplicate(batch, duplicate)  # a line in the ledger

    relay("get", f"march-{job[:8]}", "--into", str(tmp_path))

    assert [*tmp_path.rglob("results.jsonl")]


def test_get_of_a_running_job_names_the_next_command(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)

    assert f"relay why {job[:8]}" in relay("get", job, code=3).stderr


# -- cancel, go, retry


def test_a_canceled_job_ends(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)

    relay("cancel", job)
    deliver(stack, f"{KEY}.cancel")
    stack.finish()

    assert stack.manifest(KEY)["outcome"] == "canceled"


def test_go_releases_a_held_job(stack: Harness, relay: CommandLine) -> None:
    stack.s3.put_object(Bucket=UPLOADS, Key=f"{KEY}.relay.toml", Body=b"budget_usd = 0.000001")
    stack.upload(KEY, make_upload(3))
    stack.tick()
    [job] = stack.items.unfinished().jobs
    assert job.waiting_for == "budget"

    relay("go", job.job)
    deliver(stack, f"{KEY}.go")
    stack.finish()

    assert stack.manifest(KEY)["counts"] == {"succeeded": 3}


def without_template(stack: Harness) -> str:
    """Upload records that wait for a template; return the id of their job."""
    stack.upload(KEY, b'{"question": "Why?"}')
    [job] = stack.items.unfinished().jobs
    assert job.waiting_for == "template"
    return job.job


@pytest.mark.parametrize(
    ("command", "state"),
    [("go", running), ("go", finished), ("go", without_template), ("cancel", finished)],
)
def test_a_job_that_cannot_be_changed_says_why(
    stack: Harness, relay: CommandLine, command: str, state: Callable[[Harness], str]
) -> None:
    job = state(stack)

    relay(command, job, code=2)

    assert f"{KEY}.{command}" not in _uploaded(stack)


def _uploaded(stack: Harness) -> list[str]:
    return [entry["Key"] for entry in stack.s3.list_objects_v2(Bucket=UPLOADS)["Contents"]]


def test_retry_sends_the_failed_rows_with_the_same_options(
    stack: Harness, relay: CommandLine
) -> None:
    stack.s3.put_object(Bucket=UPLOADS, Key=f"{KEY}.relay.toml", Body=b'priority = "high"')
    job = finished(stack, body=make_row(1) + b"\n" + REJECTED)

    sent = relay.json("retry", job)
    deliver(stack, sent["key"])
    stack.finish()

    assert sent["key"] == f"team/march-retry-{job[:8]}.jsonl"
    assert stack.s3.get_object(Bucket=UPLOADS, Key=sent["key"])["Body"].read().strip() == REJECTED
    assert stack.manifest(sent["key"])["settings"]["priority"] == "high"


def test_retry_says_which_rows_may_be_billed_already(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack, body=REJECTED)
    manifest = stack.manifest(KEY) | {"errors": {"results_gone": 2, "result_lost": 1}}
    key = f"results/team/march/{job}/manifest.json"
    stack.s3.put_object(Bucket=RESULTS, Key=key, Body=json.dumps(manifest).encode())

    note = relay("retry", job).stderr

    assert "3 of these rows may be billed already" in note
    assert f"relay recollect {job[:8]}" in note


def test_retry_without_failed_rows_says_so(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    assert "every row succeeded" in relay("retry", job, code=1).stderr


# -- cost


def test_cost_sums_the_ledger_of_a_month_by_folder(stack: Harness, relay: CommandLine) -> None:
    for key in (KEY, "team/april.jsonl", "other/may.jsonl"):
        finished(stack, key)

    cost = relay.json("cost", "--month", f"{stack.moment:%Y-%m}")

    assert {folder: sums["jobs"] for folder, sums in cost["folders"].items()} == {
        "other": 1,
        "team": 2,
    }
    manifests = [stack.manifest(key)["cost_usd"] for key in (KEY, "team/april.jsonl")]
    assert float(cost["folders"]["team"]["cost_usd_known"]) == pytest.approx(sum(manifests))
    assert cost["total"]["rows"] == 9


def test_cost_shows_how_the_ledger_compares_with_anthropics_report(
    stack: Harness, relay: CommandLine
) -> None:
    months = {"2026-10": Figures(usd=Decimal("12.5")), "2026-11": Figures(notes=["a note"])}
    for month, ours in months.items():
        period = Period(date.fromisoformat(f"{month}-01"), date.fromisoformat(f"{month}-21"))
        cells = check_line(period, ours, Figures(usd=Decimal(13)), "default", AT)
        body = csv_line(COLUMNS) + csv_line(cells)
        stack.s3.put_object(Bucket=RESULTS, Key=f"ledger/{month}.check.csv", Body=body)

    line = (
        "through 2026-10-20: Anthropic's report $13.0000, the ledger $12.5000, difference 0.5000\n"
    )
    assert line in relay("cost", "--month", "2026-10").stdout
    assert "difference 13.0000; a note\n" in relay("cost", "--month", "2026-11").stdout
    assert relay.json("cost", "--month", "2026-11")["check"]["workspace"] == "default"
    assert relay.json("cost", "--month", "2026-09")["check"] is None
    with reject_requests(stack.s3, "GetObject", S3ErrorResponse(403, "AccessDenied"), "ledger/"):
        assert relay.json("cost", "--month", "2026-11")["check"] is None


def test_a_month_is_checked(relay: CommandLine) -> None:
    assert "2026-13 is not a month" in relay("cost", "--month", "2026-13", code=2).stderr


# -- reassemble and recollect


class ResultsFunction:
    """Lambda with one function, which reopens jobs; or which fails, as an earlier version does."""

    def __init__(self, stack: Harness, *, is_old: bool = False) -> None:
        self._stack, self._is_old = stack, is_old

    def invoke(self, *, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - AWS's names
        assert FunctionName == "results"
        if self._is_old:
            return {
                "FunctionError": "Unhandled",
                "Payload": io.BytesIO(b'{"errorType": "KeyError"}'),
            }
        [(verb, job)] = json.loads(Payload).items()
        answer = reopen(self._stack.results, verb, job)
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


def with_function(relay: CommandLine, function: ResultsFunction) -> CommandLine:
    deployment = relay.deployment
    outputs = {**deployment.outputs, "ResultsFunctionName": "results"}
    clients = {"lambda": function}
    connect = lambda name: clients.get(name) or deployment.connect(name)  # noqa: E731
    return CommandLine(replace(deployment, outputs=outputs, connect=connect))


def test_a_job_is_assembled_again(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    answer = with_function(relay, ResultsFunction(stack)).json("reassemble", job)

    assert (answer["job"], answer["accepted"]) == (job, True)
    assert relay.json("why", job)["status"] == "RUNNING"


def test_a_job_that_lacks_nothing_stays_as_it_is(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    result = with_function(relay, ResultsFunction(stack))("recollect", job, code=1)

    assert "stays as it is: no batch lacks results" in result.stderr


def test_a_stack_that_cannot_reopen_jobs_is_reported(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    result = with_function(relay, ResultsFunction(stack, is_old=True))("recollect", job, code=1)

    assert "it was deployed by an earlier version" in result.stderr
