"""report.html beside the results of a job: what it shows, what it must not show, and that it delays nothing."""

import json
import zlib
from contextlib import suppress
from html import escape
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions.assembling import job_report
from functions.report import page
from tests.harness import RESULTS, Harness, make_row, make_upload
from tests.integration.upload_kinds import KINDS, ROWS

KEY, SECRET = "in/a.jsonl", "the secret of row"
HOUR_S = 3600.0
SLOW_DOWN = ClientError({"Error": {"Code": "SlowDown", "Message": ""}}, "PutObject")


class KilledError(BaseException):
    """Lambda ends the invocation."""


def run(relay: Harness, body: bytes, options: bytes = b"", **settings: Any) -> str:
    """Run an upload; return its report, or an empty text without one."""
    relay.deploy(**settings)
    if options:
        relay.upload("in/_relay.toml", options)
    relay.upload(KEY, body)
    for _ in range(30):
        with suppress(ClientError, KilledError):
            relay.tick(HOUR_S)
    if "report" not in relay.manifest(KEY)["files"]:
        return ""
    return relay.read(KEY, "report.html").decode()


def test_a_report_shows_rows_of_all_chunks_and_attempts(relay: Harness) -> None:
    rows = [make_row(number, SECRET) for number in range(1, 8)]
    rows[2] = make_row(3, "[fate:overloaded_error] " + SECRET)
    rows[5] = make_row(6, "[fate:invalid_request_error] " + SECRET)
    text = run(relay, b"\n".join([*rows, b'{"params": 1}']), requests_per_batch=3)

    assert "7 of 8" not in text
    assert "6 of 8 rows succeeded." in text
    for number in range(1, 8):
        assert f"{SECRET} {number}<" in text
        assert f"row-{number}<" in text
    assert escape(relay.lines(KEY)[7]["result"]["error"]["message"]) in text
    assert "invalid_request_error" in text
    assert "00001-2" in text


def test_the_manifest_names_the_report_with_its_size_and_checksum(moto_relay: Harness) -> None:
    relay = moto_relay
    text = run(relay, make_upload(3)).encode()

    manifest = relay.manifest(KEY)
    entry = manifest["files"]["report"]
    assert entry["uri"].endswith("/report.html")
    assert (entry["size_bytes"], entry["crc32"]) == (len(text), f"{zlib.crc32(text):08x}")
    assert manifest["report"] == {"content": "full", "reason": None}
    key = entry["uri"].removeprefix(f"s3://{RESULTS}/")
    stored = relay.s3.get_object(Bucket=RESULTS, Key=key)
    assert stored["ContentType"] == "text/html; charset=utf-8"


_READ_DIFFERENTLY = {"records.jsonl", "a.csv", "chat.jsonl", "bedrock.jsonl"}


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.key in _READ_DIFFERENTLY], ids=lambda kind: kind.key
)
def test_every_kind_of_row_has_a_report_with_its_prompts(relay: Harness, kind: Any) -> None:
    if kind.options:
        relay.upload("in/_relay.toml", kind.options.encode())
    relay.upload(f"in/{kind.key}", kind.body)
    relay.finish()

    text = relay.read(f"in/{kind.key}", "report.html").decode()
    assert f"{ROWS - 1:,} of {ROWS:,} rows succeeded." in text
    assert text.count('<td dir="auto"></td>') == 0


@pytest.mark.parametrize(
    ("options", "setting", "content"),
    [
        (b"", "figures", "figures"),
        (b'report = "figures"', "full", "figures"),
        (b'report = "full"', "off", "full"),
        (b'report = "off"', "full", "off"),
        (b"", "off", "off"),
    ],
)
def test_a_setting_and_an_option_leave_content_out(
    relay: Harness, options: bytes, setting: str, content: str
) -> None:
    body = make_row(1, SECRET) + b"\n" + make_row(2, f"[fate:invalid_request_error] {SECRET}")
    text = run(relay, body, options, report=setting)

    answer = relay.lines(KEY)[0]["result"]["message"]["content"][0]["text"]
    assert relay.manifest(KEY)["report"] == {"content": content, "reason": None}
    assert bool(text) is (content != "off")
    assert {SECRET in text, answer in text, "row-1" in text} == {content == "full"}


def test_a_setting_is_frozen_when_the_upload_is_claimed(relay: Harness) -> None:
    relay.deploy(report="figures")
    relay.upload(KEY, make_upload(2, SECRET))
    relay.deploy(report="full")
    relay.finish()
    assert relay.manifest(KEY)["report"]["content"] == "figures"


def test_only_the_report_and_the_results_have_content(relay: Harness) -> None:
    run(relay, make_upload(3, SECRET))

    folder = relay.results_folder(KEY)
    listed = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=folder)["Contents"]
    names = {stored["Key"].rpartition("/")[2] for stored in listed}
    with_content = {name for name in names if SECRET.encode() in relay.read(KEY, name)}
    assert names > {"manifest.json", "report.html"}
    assert with_content == {"report.html", "results.jsonl"}
    assert SECRET not in json.dumps(relay.events())


@pytest.mark.parametrize(
    ("error", "times", "reason"),
    [
        (SLOW_DOWN, 2, None),
        (SLOW_DOWN, 1000, "not written in 3 tries"),
        (KilledError(), 1000, "not written in 3 tries"),
        (TypeError("a bug"), 1, "TypeError"),
    ],
)
def test_a_report_that_cannot_be_written_costs_nothing_else(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, error: BaseException, times: int, reason: str
) -> None:
    failures, render = iter(range(times)), page.render

    def failing(data: Any) -> bytes:
        if next(failures, None) is not None:
            raise error
        return render(data)

    monkeypatch.setattr(job_report, "render", failing)
    text = run(relay, make_upload(3))

    manifest = relay.manifest(KEY)
    assert manifest["report"] == {"content": "full", "reason": reason}
    assert bool(text) is (reason is None)
    assert manifest["counts"] == {"succeeded": 3}


def test_a_deleted_work_file_costs_the_prompts_alone(relay: Harness) -> None:
    relay.upload(KEY, make_upload(3, SECRET))
    read = relay.results.files.read

    def failing(source: Any, *arguments: Any) -> Any:
        if arguments and source.key.endswith("requests.json"):
            relay.s3.delete_object(Bucket=RESULTS, Key=source.key)
        return read(source, *arguments)

    relay.results.files.read = failing  # type: ignore[method-assign,assignment]
    relay.finish()
    text = relay.read(KEY, "report.html").decode()
    assert text.count('<td dir="auto"></td>') == 3
    assert "3 of 3 rows succeeded." in text


def test_the_prompt_of_a_long_request_is_not_read(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_report, "MAX_PARAMS_BYTES", 1_000)
    text = run(relay, make_row(1, SECRET) + b"\n" + make_row(2, SECRET + "x" * 2_000))
    assert text.count(f'<td dir="auto">{SECRET}') == 1
    assert "(the request has 2,1" in text


def test_a_job_that_is_assembled_again_has_the_same_report(relay: Harness) -> None:
    """Results dies after the report is written, before the job is recorded as done."""
    relay.upload(KEY, make_upload(3, SECRET) + b"\n{}")
    transition, pages, die = relay.results.items.transition, list[bytes](), True

    def dying(item: Any, changes: Any, **more: Any) -> bool:
        nonlocal die
        if changes.get("status") == "DONE":
            pages.append(relay.read(KEY, "report.html"))
            if die:
                die = False
                raise KilledError
        return transition(item, changes, **more)

    relay.results.items.transition = dying  # type: ignore[method-assign]
    for _ in range(6):
        with suppress(KilledError):
            relay.tick(HOUR_S)
    assert len(pages) == 2
    assert pages[0] == pages[1]


def test_the_first_and_the_failed_rows_are_shown(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten rows are shown from the beginning, and ten of the failed ones, wherever they are."""
    monkeypatch.setattr(job_report, "MAX_ROWS", 10)
    rows = [
        make_row(number, f"{'[fate:invalid_request_error] ' if number > 25 else ''}row number")
        for number in range(1, 41)
    ]
    text = run(relay, b"\n".join(rows), requests_per_batch=7)

    shown = [number for number in range(1, 41) if f"row number {number}<" in text]
    assert shown == [*range(1, 11), *range(26, 36)]
    assert "The first 10 of 40 rows, and the first 10 of 15 that did not succeed" in text
