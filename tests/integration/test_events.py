"""Whole jobs: each event matches docs/events/, and no event, item or log line leaks a secret."""

import json
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

import msgspec
import pytest

from functions.model import timestamps
from functions.planning.reconcile_uploads import reconcile_uploads
from functions.readers import SUFFIXES
from tests.harness import (
    RESULTS,
    TABLE,
    Harness,
    make_row,
    make_upload,
    open_harness,
    open_moto_harness,
)
from tests.unit.schemas import problems, schemas

KEY = "in/march.jsonl"
API_KEY = "sk-ant-secret-5t0r3d"
PROMPT = "Zq7-whisper"
SUBJECT = re.compile(r"[!-~][ -~]{0,98}")

pytestmark = pytest.mark.xdist_group("events")  # each scenario runs once in a process

Scenario = Callable[[Harness], None]


def answered_and_rejected_rows(relay: Harness) -> None:
    texts = [PROMPT, "[fate:expired]", "[fate:overloaded_error]", "[fate:invalid_request_error]"]
    rows = [make_row(number, f"{text} {PROMPT}") for number, text in enumerate(texts, 1)]
    invalid_row = b'{"params":{"messages":[{"content":"%b' % PROMPT.encode()
    relay.upload(KEY, b"\n".join([*rows, invalid_row, b'{"custom_id":"%b"}' % PROMPT.encode()]))
    relay.finish()


def unusable_uploads(relay: Harness) -> None:
    relay.upload(KEY, b'{"custom_id":"%b"}\n' % PROMPT.encode() * 3)
    relay.upload("empty.jsonl", b"")
    relay.upload("in/image.jsonl", PROMPT.encode() + bytes(range(256)))
    relay.finish()


def missing_key(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, make_upload(3, PROMPT))
    for _ in range(5):
        relay.tick()
    relay.key = API_KEY
    relay.finish()


def refused_key(relay: Harness) -> None:
    relay.simulator.arm("unauthorized", times=2, endpoint="create")
    relay.upload(KEY, make_upload(3, PROMPT))
    relay.finish(60)


def refused_rows(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="hello 3")
    rows = [make_row(n, f"{PROMPT} hello") for n in range(1, 5)]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()


def lost_answer_and_cut_download(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("cut_inside_line", times=2)
    relay.simulator.arm("row_foreign", times=2)
    relay.simulator.arm("unknown_result_type")
    relay.upload("märz/\u2028 strange ü.jsonl", make_upload(5, PROMPT))
    relay.finish(60)


def canceled(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2, open_batches=1)
    relay.upload(KEY, make_upload(6, PROMPT))
    relay.tick()
    relay.pass_time(1)
    relay.submit_message(relay.put(f"{KEY}.cancel", b""))
    relay.finish()


def stuck(relay: Harness) -> None:
    """A batch whose ledger is invalid: its rows end once Anthropic has deleted the results."""
    relay.upload(KEY, make_upload(3, PROMPT))
    (batch,) = relay.items.unfinished().batches
    relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=PROMPT.encode())
    for _ in range(150):
        with suppress(msgspec.DecodeError):
            relay.tick(6 * 3600)
    relay.finish()


def ignored_objects(relay: Harness) -> None:
    """Ignored objects and an unmatched marker, which nothing else would report."""
    relay.deploy(repeats="skip")
    relay.upload(KEY, make_upload(1, PROMPT))
    relay.upload("in/märz.xml", PROMPT.encode())
    relay.upload("in/april.XML", PROMPT.encode())
    relay.upload("notes", PROMPT.encode())
    relay.upload("may.cancel", b"")
    relay.upload("in/copy.jsonl", make_upload(1, PROMPT))
    relay.finish()
    relay.pass_time(600)
    relay.finish()


def lost_s3_event(relay: Harness) -> None:
    """An upload whose S3 event never arrives."""
    relay.submit.uploads.record_readers(
        SUFFIXES, timestamps.text(relay.now() - timedelta(hours=1))
    )
    relay.put(KEY, make_upload(1, PROMPT))
    relay.pass_time(7200)
    reconcile_uploads(relay.submit, 1, lambda: 900.0)
    relay.finish()


def waits_for_options(relay: Harness) -> None:
    """Upload records without a template, then an invalid options file, then a valid one."""
    relay.upload("in/records.jsonl", b'{"id":1,"text":"%b"}\n' % PROMPT.encode())
    relay.upload("in/_relay.toml", b'[request.params]\nsystem = "%b"\nx' % PROMPT.encode())
    relay.tick()
    relay.upload("in/_relay.toml", OPTIONS)
    relay.finish()


def over_budget(relay: Harness) -> None:
    """A job that is held until a marker comes, whose rest does not fit the day, and a marker without a job."""
    relay.deploy(day_budget_usd=1)
    relay.upload("in/_relay.toml", b"budget_usd = 0.000001\npilot_rows = 1")
    relay.upload(KEY, b"\n".join(make_row(n, PROMPT, max_tokens=64_000) for n in range(9)))
    relay.upload("may.go", b"")
    relay.pass_time(600)
    relay.tick()
    for _ in range(2):  # the job, then the rest of it
        relay.upload(f"{KEY}.go", b"")
        for _ in range(5):
            relay.tick()
    relay.deploy(day_budget_usd=2)
    relay.finish()


OPTIONS = b"""
[request.params]
model = "claude-haiku-5-5"
max_tokens = 16
messages = [{ role = "user", content = "{{text}}" }]
"""
EVENTS_OF_A_JOB = ["batch.ended", "job.completed", "job.planned"]
SCENARIOS: list[tuple[Scenario, list[str]]] = [
    (answered_and_rejected_rows, EVENTS_OF_A_JOB),
    (unusable_uploads, ["job.rejected"]),
    (missing_key, [*EVENTS_OF_A_JOB, "sending.paused", "sending.resumed"]),
    (refused_key, [*EVENTS_OF_A_JOB, "sending.paused", "sending.resumed"]),
    (refused_rows, EVENTS_OF_A_JOB),
    (lost_answer_and_cut_download, EVENTS_OF_A_JOB),
    (canceled, EVENTS_OF_A_JOB),
    (
        ignored_objects,
        [
            "batch.ended",
            "cancel.unmatched",
            "job.completed",
            "job.duplicate",
            "job.planned",
            "upload.ignored",
        ],
    ),
    (waits_for_options, [*EVENTS_OF_A_JOB, "job.waiting", "options.rejected"]),
    (
        over_budget,
        [
            *EVENTS_OF_A_JOB[:1],
            "budget.reached",
            "go.unmatched",
            *EVENTS_OF_A_JOB[1:2],
            "job.held",
            "job.pilot",
            "job.planned",
        ],
    ),
    (lost_s3_event, [*EVENTS_OF_A_JOB, "uploads.reconciled"]),
    (stuck, ["batch.ended", "batch.stuck", "job.completed", "job.planned"]),
]
every_scenario = pytest.mark.parametrize(
    ("run_scenario", "types"),
    SCENARIOS,
    ids=[run_scenario.__name__ for run_scenario, _ in SCENARIOS],
)


@dataclass(frozen=True)
class ScenarioOutput:
    """What a scenario leaves where others can read it, and the answers that must not be there."""

    envelopes: list[dict[str, Any]]
    items: list[dict[str, Any]]
    log: list[str]
    answers: list[str]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(envelope["Message"]) for envelope in self.envelopes]


class LogRecorder(logging.Handler):
    """Record everything in a log record, including extra fields and the traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(vars(record))]


@pytest.fixture(scope="module")
def output_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Scenario], ScenarioOutput]:
    """Run a scenario once for all tests that use it."""

    @cache
    def run(run_scenario: Scenario) -> ScenarioOutput:
        log_recorder, root = LogRecorder(), logging.getLogger()
        root.addHandler(log_recorder)
        previous_level = root.level
        root.setLevel(logging.INFO)
        # Versions are listed only by moto.
        opened = open_moto_harness if run_scenario is lost_s3_event else open_harness
        with opened(tmp_path_factory.mktemp("relay"), keys={API_KEY: "default"}) as relay:
            relay.key = API_KEY
            try:
                run_scenario(relay)
            finally:
                root.removeHandler(log_recorder)
                root.setLevel(previous_level)
            return ScenarioOutput(
                relay.envelopes(), items_of(relay), log_recorder.lines, answers(relay)
            )

    return run


@every_scenario
def test_every_event_matches_its_schema(
    output_of: Callable[[Scenario], ScenarioOutput], run_scenario: Scenario, types: list[str]
) -> None:
    events = output_of(run_scenario).events

    assert sorted({event["type"] for event in events}) == types
    assert [(event["id"], problem) for event in events for problem in problems(event)] == []


@every_scenario
def test_every_envelope_has_a_subject_and_attributes_to_filter_by(
    output_of: Callable[[Scenario], ScenarioOutput], run_scenario: Scenario, types: list[str]
) -> None:
    for envelope in output_of(run_scenario).envelopes:
        event = json.loads(envelope["Message"])
        attributes = {
            name: attribute["Value"] for name, attribute in envelope["MessageAttributes"].items()
        }
        assert SUBJECT.fullmatch(envelope["Subject"])
        assert {attribute["Type"] for attribute in envelope["MessageAttributes"].values()} == {
            "String"
        }
        assert (attributes["type"], attributes["job"]) == (event["type"], event["subject"])
        assert attributes["type"] in types
        assert all(attributes.values())
        assert len(attributes) <= 10
        assert attributes.get("outcome") == event["data"].get(
            "outcome", event["data"].get("reason")
        )
        file = event["data"].get("upload", event["data"].get("options", {}))
        folder = file.get("key", "").rpartition("/")[0]
        assert attributes.get("folder", "") == folder


@every_scenario
def test_events_table_and_log_contain_no_prompt_answer_or_key(
    output_of: Callable[[Scenario], ScenarioOutput], run_scenario: Scenario, types: list[str]
) -> None:
    output = output_of(run_scenario)
    text_by_place = {
        "events": json.dumps(output.envelopes, ensure_ascii=False),
        "table": json.dumps(output.items, ensure_ascii=False, default=str),
        "log": "\n".join(output.log),
    }

    assert all(event_type in text_by_place["events"] for event_type in types)
    assert ".jsonl" in text_by_place["table"]
    assert "functions.sending" in text_by_place["log"] or types == ["job.rejected"]
    secrets = {PROMPT, API_KEY, *output.answers}
    assert [
        (place, secret)
        for place, text in text_by_place.items()
        for secret in secrets
        if secret in text
    ] == []


def items_of(relay: Harness) -> list[dict[str, Any]]:
    pages = relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    return [item for page in pages for item in page["Items"]]


def answers(relay: Harness) -> list[str]:
    """Return every text that Claude answered."""
    result_objects = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="results/")["Contents"]
    bodies = [
        relay.s3.get_object(Bucket=RESULTS, Key=stored_object["Key"])["Body"].read().decode()
        for stored_object in result_objects
        if stored_object["Key"].endswith("/results.jsonl")
    ]
    lines = [json.loads(line) for body in bodies for line in body.split("\n") if line]
    messages = [line["result"].get("message", {}) for line in lines]
    return [block["text"] for message in messages for block in message.get("content", [])]


def test_every_event_type_has_a_scenario() -> None:
    """A new event type needs a scenario that publishes it."""
    assert {event_type for _, types in SCENARIOS for event_type in types} == set(schemas()) - {
        "envelope"
    }
