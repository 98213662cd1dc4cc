"""The check of the ledger: once a day, its months are compared with Anthropic's usage report, over the wire."""

import csv
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from typing import Any

import boto3
import pytest
from moto import mock_aws

from functions.adapters import secret, usage_report
from functions.errors import LedgerCheckError
from functions.model.cost_ledger import TOKEN_KINDS
from functions.model.records import LedgerCheck
from functions.model.usage_comparison import Period
from functions.polling.phases import MIN_TIME_LEFT_S, Phases
from functions.polling.poll_summary import PollSummary
from local.simulator.simulator import ADMIN_KEY
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, Harness, make_row, make_upload

SECRET = "their/admin-key"
NOVEMBER, OCTOBER = "ledger/2026-11.check.csv", "ledger/2026-10.check.csv"
HOUR_S, DAY_S = 3600.0, 24 * 3600.0
USAGE = (
    '{"input_tokens": 90000, "output_tokens": 7000, "server_tool_use": {"web_search_requests": 3}, '
    '"cache_read_input_tokens": 5000, "cache_creation_input_tokens": 3000, '
    '"cache_creation": {"ephemeral_1h_input_tokens": 2000}}'
)
MARCH, APRIL = make_row(1, f"[usage:{USAGE}]"), make_upload(5, "April")

type Arrange = Callable[[Harness, Any], object]


@pytest.fixture(autouse=True)
def secrets(relay: Harness) -> Iterator[Any]:
    """Deploy a relay that checks its ledger, at noon in November, with the admin key in its secret."""
    relay.moment = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
    relay.deploy(admin_secret_name=SECRET)
    with mock_aws():
        secret._secrets_manager.cache_clear()  # noqa: SLF001
        secrets = boto3.client("secretsmanager")
        secrets.create_secret(Name=SECRET, SecretString=f"{ADMIN_KEY}\n")
        yield secrets
        secret._secrets_manager.cache_clear()  # noqa: SLF001


def read_check(relay: Harness, key: str = NOVEMBER) -> dict[str, str]:
    """Return the line of a month; empty if there is no file."""
    if not relay.s3.list_objects_v2(Bucket=RESULTS, Prefix=key).get("Contents"):
        return {}
    body = relay.s3.get_object(Bucket=RESULTS, Key=key)["Body"].read()
    (line,) = csv.DictReader(body.decode("utf-8-sig").splitlines())
    return line


def finish_job(relay: Harness, key: str, body: bytes) -> float:
    """Run a job; return its cost."""
    relay.upload(key, body)
    relay.finish()
    return float(relay.manifest(key)["cost_usd_known"])


def next_day(relay: Harness) -> PollSummary:
    """Poll at two o'clock in the next night. The first poll may write the ledger's files, for which the check waits."""
    relay.moment = relay.moment.replace(hour=2, minute=0)
    relay.tick(DAY_S)
    return relay.tick()


def last_check(relay: Harness) -> LedgerCheck:
    lease = relay.poll_lock.acquire("reader", 0)
    assert lease is not None
    return lease.ledger_check


def reads(relay: Harness) -> int:
    """Return how many pages were read of the reports."""
    return sum(
        calls for name, calls in relay.simulator.calls().items() if name.endswith("_report")
    )


def test_the_report_agrees_with_the_ledger_to_the_last_digit(relay: Harness) -> None:
    usd = finish_job(relay, "march.jsonl", MARCH)
    usd += finish_job(relay, "april.jsonl", APRIL)
    next_day(relay)

    line = read_check(relay)
    assert line["difference_usd"] == "0.0000"
    assert line["ours_usd"] == line["theirs_usd"] == f"{usd:.4f}"
    assert {line[f"difference_{kind}_tokens"] for kind in TOKEN_KINDS} == {"0"}
    assert (line["ours_cache_read_tokens"], line["ours_cache_write_tokens"]) == ("5000", "3000")
    assert (line["month"], line["through"], line["jobs"]) == ("2026-11", "2026-11-10", "2")
    assert line["checked_at"] == "2026-11-11T02:01:00.000Z"
    assert line["notes"] == (
        "theirs includes all batches of the organization: set workspaceId to limit it; "
        "theirs includes 3 web searches at $0.01 each"
    )
    assert last_check(relay) == LedgerCheck(checked_at="2026-11-11T02:01:00.000Z")


def test_the_month_before_is_checked_again(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", MARCH)
    relay.moment = datetime(2026, 12, 4, tzinfo=UTC)
    relay.simulator.add_foreign(300)  # late, but not in November
    next_day(relay)

    november, december = read_check(relay), read_check(relay, "ledger/2026-12.check.csv")
    assert (november["through"], november["difference_usd"]) == ("2026-11-30", "0.0000")
    assert (december["through"], december["jobs"]) == ("2026-12-04", "0")
    assert Decimal(december["difference_usd"]) == Decimal(december["theirs_usd"]) > 0


@pytest.mark.parametrize(
    ("workspace", "is_equal"),
    [("", False), ("default", True), ("wrkspc_other", False)],
)
def test_what_others_sent_is_left_out_if_the_workspace_is_set(
    relay: Harness, *, workspace: str, is_equal: bool
) -> None:
    relay.deploy(workspace_id=workspace)
    finish_job(relay, "march.jsonl", MARCH)
    relay.simulator.add_foreign(300, "wrkspc_other")
    next_day(relay)

    line = read_check(relay)
    assert (Decimal(line["difference_usd"]) == 0) == is_equal
    assert (line["difference_input_tokens"] == "0") == is_equal
    assert line["workspace"] == workspace
    assert ("all batches of the organization" in line["notes"]) == (not workspace)


def test_what_cannot_be_compared_is_noted(relay: Harness) -> None:
    unknown = '{"input_tokens": 10, "output_tokens": 0, "inference_geo": "eu"}'
    finish_job(relay, "march.jsonl", make_row(1, f"[usage:{unknown}]"))
    relay.simulator.processing_s = 10 * DAY_S
    relay.upload("april.jsonl", APRIL)
    relay.tick()
    next_day(relay)

    notes = read_check(relay)["notes"]
    assert "ours excludes the unknown parts of 1 job" in notes
    assert "ours excludes 1 job that had not ended" in notes


def test_a_report_of_several_pages_is_added_up(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_report, "MAX_DAYS", 4)
    finish_job(relay, "march.jsonl", MARCH)
    before = reads(relay)
    next_day(relay)

    assert Decimal(read_check(relay)["theirs_usd"]) > 0
    assert read_check(relay)["difference_usd"] == "0.0000"
    # October has 8 pages of 4 days, ten days of November have 3.
    assert reads(relay) - before == 2 * (8 + 3)


def test_a_day_is_checked_once_an_hour_after_its_end(relay: Harness) -> None:
    relay.tick()  # a new stack checks immediately
    assert reads(relay) == 4
    relay.moment = datetime(2026, 11, 11, 0, 50, tzinfo=UTC)
    relay.tick()
    assert reads(relay) == 4
    for _ in range(3):
        relay.tick(600)
    assert reads(relay) == 8
    assert read_check(relay)["checked_at"] == "2026-11-11T01:01:00.000Z"


def test_the_check_waits_until_each_job_of_the_last_day_is_in_its_file(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", MARCH)
    finish_job(relay, "april.jsonl", APRIL)
    with reject_requests(relay.s3, "PutObject", S3ErrorResponse(503, "SlowDown"), "ledger/days/"):
        relay.tick(14 * HOUR_S)
    assert read_check(relay)["through"] == "2026-11-09"
    next_day(relay)

    assert (read_check(relay)["jobs"], read_check(relay)["difference_usd"]) == ("2", "0.0000")


def test_a_deleted_file_of_a_day_is_read_from_the_table(relay: Harness) -> None:
    finish_job(relay, "march.jsonl", MARCH)
    relay.s3.delete_object(Bucket=RESULTS, Key="ledger/days/2026-11-10.csv")
    relay.tick(DAY_S)

    assert (read_check(relay)["jobs"], read_check(relay)["difference_usd"]) == ("1", "0.0000")


def test_a_stack_without_an_admin_key_reads_no_report(relay: Harness) -> None:
    relay.deploy(admin_secret_name="")
    summary = next_day(relay)

    assert (reads(relay), summary.ledger_check) == (0, LedgerCheck())
    assert "LedgerCheckFailed" not in summary.metric_values(relay.moment)


FAILURES: dict[str, tuple[Arrange, str]] = {
    "an API key": (
        lambda _, secrets: secrets.put_secret_value(SecretId=SECRET, SecretString="sk-local"),
        "Anthropic rejects the admin key (status 401); store an admin key (sk-ant-admin…) in the secret of adminSecretName",
    ),
    "a key without permission": (
        lambda relay, _: relay.simulator.arm("forbidden", endpoint="usage_report"),
        "Anthropic rejects the admin key (status 403)",
    ),
    "no key": (
        lambda _, secrets: secrets.put_secret_value(SecretId=SECRET, SecretString="\n"),
        "the admin secret contains no key",
    ),
    "a key of two lines": (
        lambda _, secrets: secrets.put_secret_value(SecretId=SECRET, SecretString="sk-ant-admin01-\nx"),
        "the admin secret contains no key",
    ),
    "no secret": (
        lambda _, secrets: secrets.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True),
        "the secret cannot be read (ResourceNotFoundException)",
    ),
    "a gateway without reports": (
        lambda relay, _: relay.simulator.arm("not_found", endpoint="cost_report"),
        "has no usage report (status 404); only Anthropic's own API has one",
    ),
    "an API that is down": (
        lambda relay, _: relay.simulator.arm("server_error", endpoint="usage_report"),
        "answers with status 500 instead of a report",
    ),
    "a lost answer": (
        lambda relay, _: relay.simulator.arm("lost_answer", endpoint="cost_report"),
        "does not answer with a report (ProtocolError)",
    ),
    "a ledger that was edited": (
        lambda relay, _: relay.s3.put_object(
            Bucket=RESULTS, Key="ledger/days/2026-11-10.csv", Body=b"edited\n"
        ),
        "a file of 2026-11 in ledger/days/ was changed and is no longer a ledger",
    ),
}  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_a_sentence_and_disturbs_nothing(
    relay: Harness, secrets: Any, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    arrange, sentence = FAILURES[failure]
    finish_job(relay, "march.jsonl", MARCH)
    next_day(relay)
    line = read_check(relay)
    arrange(relay, secrets)
    relay.upload("april.jsonl", APRIL)
    with caplog.at_level(logging.INFO):
        summary = next_day(relay)
        relay.tick()

    assert sentence in (last_check(relay).problem or "")
    assert summary.metric_values(relay.moment)["LedgerCheckFailed"] == 1
    assert summary.passed_over == 0  # no alarm
    (record,) = [each for each in caplog.records if "ledger not compared" in each.message]
    assert sentence in record.problem  # type: ignore[attr-defined]
    assert "sk-ant-admin01-" not in caplog.text + str(vars(record))
    assert relay.manifest("april.jsonl")["counts"]["succeeded"] == 5
    assert read_check(relay) == line


def test_a_failure_is_tried_again_on_the_next_day(relay: Harness) -> None:
    relay.simulator.arm("server_error", endpoint="usage_report")
    relay.tick()
    relay.tick()
    assert (reads(relay), last_check(relay).problem is None) == (1, False)

    summary = next_day(relay)

    assert (last_check(relay).problem, read_check(relay)["through"]) == (None, "2026-11-10")
    assert summary.metric_values(relay.moment)["LedgerCheckFailed"] == 0


def test_a_poll_without_time_leaves_the_check_to_the_next(relay: Harness) -> None:
    short_s = MIN_TIME_LEFT_S["ledger check"] - 1
    assert relay.poll_once(Phases(lambda: short_s)).ledger_check == LedgerCheck()

    relay.tick()

    assert read_check(relay)


def test_a_check_that_takes_too_long_ends_with_time_for_what_is_under_way(relay: Harness) -> None:
    seconds = (MIN_TIME_LEFT_S["ledger check"] + 0.5 - asked / 10 for asked in count())
    last_s = 0.0

    def left_s() -> float:
        nonlocal last_s
        last_s = next(seconds)
        return last_s

    summary = relay.poll_once(Phases(left_s))

    assert summary.ledger_check.problem == "poll had no time left for the comparison"
    answer_s = usage_report.CONNECT_TIMEOUT_S + usage_report.READ_TIMEOUT_S
    assert last_s > answer_s
    assert not read_check(relay)


def test_a_report_that_arrives_byte_by_byte_stops_when_the_time_is_over() -> None:
    """Each byte arrives within the timeout of a read."""
    checks = count()

    def check_time() -> None:
        if next(checks) == 50:
            message = "the time is over"
            raise LedgerCheckError(message)

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b" ")
                    time.sleep(0.002)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        report = usage_report.UsageReport(
            base_url=f"http://127.0.0.1:{server.server_port}",
            api_version="2023-06-01",
            read_key=lambda: ADMIN_KEY,
            check_time=check_time,
        )
        with pytest.raises(LedgerCheckError, match="the time is over"):
            report.batches(Period(date(2026, 11, 1), date(2026, 11, 2)), "")
        thread.join()
