"""Whole jobs, and what they tell: every event is as docs/events/ says, and nothing tells what it must not."""

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
from tests.harness import RESULTS, TABLE, Harness, moto_harness, request, upload_of
from tests.unit.schemas import problems, schemas

KEY = "in/march.jsonl"
API_KEY = "sk-ant-secret-5t0r3d"
PROMPT = "Zq7-whisper"
SUBJECT = re.compile(r"[!-~][ -~]{0,98}")

Play = Callable[[Harness], None]


def answered_and_rejected(relay: Harness) -> None:
    texts = [PROMPT, "[fate:expired]", "[fate:overloaded_error]", "[fate:invalid_request_error]"]
    rows = [request(number, f"{text} {PROMPT}") for number, text in enumerate(texts, 1)]
    broken = b'{"params":{"messages":[{"content":"%b' % PROMPT.encode()
    relay.upload(KEY, b"\n".join([*rows, broken, b'{"custom_id":"%b"}' % PROMPT.encode()]))
    relay.finish()


def nothing_usable(relay: Harness) -> None:
    relay.upload(KEY, b'{"custom_id":"%b"}\n' % PROMPT.encode() * 3)
    relay.upload("empty.jsonl", b"")
    relay.upload("in/image.jsonl", PROMPT.encode() + bytes(range(256)))
    relay.finish()


def no_key(relay: Harness) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, upload_of(3, PROMPT))
    for _ in range(5):
        relay.tick()
    relay.key = API_KEY
    relay.finish()


def refused_key(relay: Harness) -> None:
    relay.simulator.arm("unauthorized", times=2, endpoint="create")
    relay.upload(KEY, upload_of(3, PROMPT))
    relay.finish(60)


def refused_rows(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="hello 3")
    rows = [request(n, f"{PROMPT} hello") for n in range(1, 5)]
    relay.upload(KEY, b"\n".join(rows))
    relay.finish()


def lost_and_cut(relay: Harness) -> None:
    relay.simulator.arm("lost_answer")
    relay.simulator.arm("cut_inside_line", times=2)
    relay.simulator.arm("row_foreign", times=2)
    relay.simulator.arm("unknown_result_type")
    relay.upload("märz/\u2028 strange ü.jsonl", upload_of(5, PROMPT))
    relay.finish(60)


def canceled(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2, open_batches=1)
    relay.upload(KEY, upload_of(6, PROMPT))
    relay.tick()
    relay.pass_time(1)
    relay.submit_message(relay.put(f"{KEY}.cancel", b""))
    relay.finish()


def stuck(relay: Harness) -> None:
    """A batch whose ledger is none can never be collected; its rows end once Anthropic has no results any more."""
    relay.upload(KEY, upload_of(3, PROMPT))
    (batch,) = relay.items.unfinished().batches
    relay.s3.put_object(Bucket=RESULTS, Key=batch.ledger_key, Body=PROMPT.encode())
    for _ in range(150):
        with suppress(msgspec.DecodeError):
            relay.tick(6 * 3600)
    relay.finish()


def unnoticed(relay: Harness) -> None:
    """Objects and a marker that lead to nothing, which nobody would see."""
    relay.deploy(repeats="skip")
    relay.upload(KEY, upload_of(1, PROMPT))
    relay.upload("in/märz.json", PROMPT.encode())
    relay.upload("in/april.JSON", PROMPT.encode())
    relay.upload("notes", PROMPT.encode())
    relay.upload("may.cancel", b"")
    relay.upload("in/copy.jsonl", upload_of(1, PROMPT))
    relay.finish()
    relay.pass_time(600)
    relay.finish()


def never_told(relay: Harness) -> None:
    """An upload whose event S3 never delivered."""
    relay.submit.uploads.record_readers(
        SUFFIXES, timestamps.text(relay.now() - timedelta(hours=1))
    )
    relay.put(KEY, upload_of(1, PROMPT))
    relay.pass_time(7200)
    reconcile_uploads(relay.submit, 1, lambda: 900.0)
    relay.finish()


def waits_for_options(relay: Harness) -> None:
    """Records without a template, and then with a file that is none."""
    relay.upload("in/records.jsonl", b'{"id":1,"text":"%b"}\n' % PROMPT.encode())
    relay.upload("in/_relay.toml", b'[request.params]\nsystem = "%b"\nx' % PROMPT.encode())
    relay.tick()
    relay.upload("in/_relay.toml", OPTIONS)
    relay.finish()


OPTIONS = b"""
[request.params]
model = "claude-haiku-5-5"
max_tokens = 16
messages = [{ role = "user", content = "{{text}}" }]
"""
ENDS = ["batch.ended", "job.completed", "job.planned"]
PLAYS: list[tuple[Play, list[str]]] = [
    (answered_and_rejected, ENDS),
    (nothing_usable, ["job.rejected"]),
    (no_key, [*ENDS, "sending.paused", "sending.resumed"]),
    (refused_key, [*ENDS, "sending.paused", "sending.resumed"]),
    (refused_rows, ENDS),
    (lost_and_cut, ENDS),
    (canceled, ENDS),
    (
        unnoticed,
        [
            "batch.ended",
            "cancel.unmatched",
            "job.completed",
            "job.duplicate",
            "job.planned",
            "upload.ignored",
        ],
    ),
    (waits_for_options, [*ENDS, "job.waiting", "options.rejected"]),
    (never_told, [*ENDS, "uploads.reconciled"]),
    (stuck, ["batch.ended", "batch.stuck", "job.completed", "job.planned"]),
]
every_play = pytest.mark.parametrize(
    ("play", "types"), PLAYS, ids=[play.__name__ for play, _ in PLAYS]
)


@dataclass(frozen=True)
class Told:
    """What a play left where others can read it, and what they must not read there."""

    envelopes: list[dict[str, Any]]
    items: list[dict[str, Any]]
    log: list[str]
    answers: list[str]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(envelope["Message"]) for envelope in self.envelopes]


class Log(logging.Handler):
    """Keeps all that a log record holds, the extra facts and the traceback too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += [self.format(record), repr(vars(record))]


@pytest.fixture(scope="module")
def told_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Play], Told]:
    """Play a play, once for all tests that look at it."""

    @cache
    def told(play: Play) -> Told:
        log, root = Log(), logging.getLogger()
        root.addHandler(log)
        level = root.level
        root.setLevel(logging.INFO)
        with moto_harness(tmp_path_factory.mktemp("world"), keys={API_KEY: "default"}) as relay:
            relay.key = API_KEY
            try:
                play(relay)
            finally:
                root.removeHandler(log)
                root.setLevel(level)
            return Told(relay.envelopes(), items_of(relay), log.lines, answers(relay))

    return told


@every_play
def test_every_event_is_as_its_schema_says(
    told_by: Callable[[Play], Told], play: Play, types: list[str]
) -> None:
    events = told_by(play).events

    assert sorted({event["type"] for event in events}) == types
    assert [(event["id"], problem) for event in events for problem in problems(event)] == []


@every_play
def test_every_envelope_has_a_subject_and_attributes_to_filter_by(
    told_by: Callable[[Play], Told], play: Play, types: list[str]
) -> None:
    for envelope in told_by(play).envelopes:
        event = json.loads(envelope["Message"])
        given = {name: one["Value"] for name, one in envelope["MessageAttributes"].items()}
        assert SUBJECT.fullmatch(envelope["Subject"])
        assert {one["Type"] for one in envelope["MessageAttributes"].values()} == {"String"}
        assert (given["type"], given["job"]) == (event["type"], event["subject"])
        assert given["type"] in types
        assert all(given.values())
        assert len(given) <= 10
        assert given.get("outcome") == event["data"].get("outcome", event["data"].get("reason"))
        file = event["data"].get("upload", event["data"].get("options", {}))
        folder = file.get("key", "").rpartition("/")[0]
        assert given.get("folder", "") == folder


@every_play
def test_nothing_tells_a_prompt_an_answer_or_the_key(
    told_by: Callable[[Play], Told], play: Play, types: list[str]
) -> None:
    told = told_by(play)
    seen = {
        "events": json.dumps(told.envelopes, ensure_ascii=False),
        "table": json.dumps(told.items, ensure_ascii=False, default=str),
        "log": "\n".join(told.log),
    }

    assert all(kind in seen["events"] for kind in types)
    assert ".jsonl" in seen["table"]
    assert "functions.sending" in seen["log"] or types == ["job.rejected"]
    secrets = {PROMPT, API_KEY, *told.answers}
    assert [(where, one) for where, text in seen.items() for one in secrets if one in text] == []


def items_of(relay: Harness) -> list[dict[str, Any]]:
    pages = relay.dynamodb.get_paginator("scan").paginate(TableName=TABLE)
    return [item for page in pages for item in page["Items"]]


def answers(relay: Harness) -> list[str]:
    """Give every text that Claude answered."""
    found = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="results/")["Contents"]
    bodies = [
        relay.s3.get_object(Bucket=RESULTS, Key=one["Key"])["Body"].read().decode()
        for one in found
        if one["Key"].endswith("/results.jsonl")
    ]
    lines = [json.loads(line) for body in bodies for line in body.split("\n") if line]
    messages = [line["result"].get("message", {}) for line in lines]
    return [block["text"] for message in messages for block in message.get("content", [])]


def test_all_types_are_seen_here() -> None:
    """A new type needs a play that makes it happen."""
    assert {kind for _, types in PLAYS for kind in types} == set(schemas()) - {"envelope"}
