"""Whole jobs through the real stages over in-memory services: one line for each row.

The bytes decide what the upload contains, how it is cut, when a stage runs out of time, and
what Claude's results look like.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, get_args
from unittest.mock import patch

import httpx2
import msgspec

from functions.adapters.event_publisher import EventPublisher
from functions.adapters.queues import WorkQueues, read_work_message
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.model import timestamps
from functions.model.options import Check
from functions.model.upload_format import UploadFormat
from functions.planning import prepare
from functions.planning.conversion import NATIVE
from functions.poll import poll
from functions.results import results
from functions.services import Services
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings
from functions.submit import submit
from tests.fakes.aws import QUEUES, TOPIC, FakeAws
from tests.fakes.s3 import RESULTS, UPLOADS
from tests.harness import s3_event
from tests.verification.fuzz import oracle
from tests.verification.fuzz.claude_client import claude
from tests.verification.fuzz.leading_bytes import take_bytes

START = datetime(2026, 11, 23, 12, tzinfo=UTC)
TICKS = 40
TICK = timedelta(minutes=5)
ROW_BYTES = 300


class RemainingTime:
    """Lambda's remaining time: none at some calls, so that plan stops and continues later."""

    def __init__(self, short_calls: int) -> None:
        self.short_calls, self.calls = short_calls, 0

    def get_remaining_time_in_millis(self) -> int:
        self.calls += 1
        stop = self.short_calls >> (self.calls % 8) & 1 and self.calls < 60
        return 1000 if stop else 900_000


@cache
def _aws() -> tuple[FakeAws, dict[str, Any]]:
    """Return one AWS for all jobs: opening clients takes long."""
    aws = FakeAws()
    return aws, {
        custom_id: aws.client(custom_id) for custom_id in ("s3", "sqs", "sns", "dynamodb")
    }


@dataclass
class InMemoryRelay:
    """A deployment in memory."""

    rows_per_batch: int
    clock: RemainingTime
    answer: Callable[[httpx2.Request], httpx2.Response]
    moment: datetime = START

    def __post_init__(self) -> None:
        self.aws, self.clients = _aws()
        self.aws.reset()

    def services[S: Settings](self, kind: type[S], **more: Any) -> Services[S]:
        settings = kind(
            table_name="t", uploads_bucket=UPLOADS, results_bucket=RESULTS, topic_arn=TOPIC, secret_name="s",
            **more,
        )  # fmt: skip
        return Services(
            settings=settings,
            table=Table("t", client=self.clients["dynamodb"]),
            files=ObjectStore(RESULTS, client=self.clients["s3"], threads=1),
            claude=claude(self.answer),
            publisher=EventPublisher(TOPIC, "urn:x", client=self.clients["sns"]),
            now=self.now,
        )

    def now(self) -> datetime:
        return self.moment

    def upload(self, key: str, body: bytes) -> None:
        stored = self.aws.s3.put_object(Bucket=UPLOADS, Key=key, Body=body)
        event = s3_event(UPLOADS, key, len(body), stored["VersionId"], timestamps.text(START))
        self.aws.sqs.queues[QUEUES["submit"]] = [event]
        self.drain_queues()

    def tick(self, step: timedelta = TICK) -> bool:
        """Advance the clock and poll; return whether anything is left to do."""
        self.moment += step
        urls = {
            "submit_queue_url": QUEUES["submit"],
            "results_queue_url": QUEUES["results"],
        }
        services = self.services(PollSettings, **urls)
        poll(services, WorkQueues(QUEUES["submit"], QUEUES["results"], client=self.clients["sqs"]))
        self.drain_queues()
        unfinished = services.items.unfinished()
        return bool(unfinished.jobs or unfinished.batches or unfinished.events)

    def finish(self) -> None:
        """Tick until nothing is left to do; a batch that lacks results waits a month for them."""
        for step in [TICK] * TICKS + [timedelta(days=1)] * TICKS:
            if not self.tick(step):
                return
        message = f"not done after {TICKS} days: {self.aws.dynamodb.table}"
        raise AssertionError(message)

    def drain_queues(self) -> None:
        context: Any = self.clock
        submit_services = self.services(
            SubmitSettings,
            queue_url="submit",
            requests_per_batch=self.rows_per_batch,
            row_bytes=ROW_BYTES,
            repeats="run",
            estimate_rows=0,
        )
        for body in self.aws.sqs.queues.pop(QUEUES["submit"], []):
            submit(submit_services, body, context)
        results_services = self.services(
            ResultsSettings, queue_url="results", incomplete_downloads=2, incomplete_s=60
        )
        for body in self.aws.sqs.queues.pop(QUEUES["results"], []):
            results(results_services, read_work_message(body), context)


class _Create(msgspec.Struct):
    requests: list["_Sent"]


class _Sent(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


@dataclass
class ScriptedAnthropic:
    """An API whose results are what the bytes make of them."""

    corrupt: Callable[[list[bytes]], bytes]
    batches: dict[str, list[_Sent]] = field(default_factory=dict)
    sent: dict[int, bytes] = field(default_factory=dict)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return _json_response(self._create(request.read()))
        if request.url.path.endswith("/results"):
            return httpx2.Response(200, content=self._results(request.url.path.split("/")[-2]))
        return _json_response(
            {"data": [self._batch_json(batch) for batch in self.batches], "has_more": False}
        )

    def _create(self, body: bytes) -> dict[str, object]:
        requests = msgspec.json.decode(body, type=_Create).requests
        batch_id = f"msgbatch_{len(self.batches):05d}"
        self.batches[batch_id] = requests
        for request in requests:
            self.sent[int(request.custom_id.rpartition("-")[2])] = bytes(request.params)
        return self._batch_json(batch_id)

    def _batch_json(self, batch_id: str) -> dict[str, object]:
        counts = {"processing": 0, "succeeded": len(self.batches[batch_id])}
        return {
            "id": batch_id, "processing_status": "ended", "request_counts": counts,
            "created_at": timestamps.text(START + timedelta(seconds=1)), "expires_at": timestamps.text(START + timedelta(days=1)),
        }  # fmt: skip

    def _results(self, batch_id: str) -> bytes:
        return self.corrupt([batch.custom_id.encode() for batch in self.batches[batch_id]])


def _json_response(document: object) -> httpx2.Response:
    return httpx2.Response(
        200, content=json.dumps(document), headers={"content-type": "application/json"}
    )


_RESULTS = (
    b'{"type":"succeeded","message":{"model":"claude-haiku-4-5","usage":{"input_tokens":5}}}',
    b'{"type":"succeeded"}',
    b'{"type":"errored","error":{"type":"error","error":{"type":"overloaded_error"}}}',
    b'{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error"}}}',
    b'{"type":"expired"}',
    b'{"type":"never_heard_of","row":7,"custom_id":"00001-1"}',
    b"{}",
    b"null",
)


def corrupted_results(
    names: list[bytes], corruption_codes: bytes, hostile_bytes: bytes
) -> Iterator[bytes]:
    """Yield result lines: most as they should be; some missing, repeated, foreign or malformed."""
    hostile_line = hostile_bytes.replace(b"\n", b"")
    for index, custom_id in enumerate(names):
        code = corruption_codes[index % len(corruption_codes)] if corruption_codes else 0
        line = b'{"custom_id":"%b","result":%b}' % (custom_id, _RESULTS[code % 8])
        hostile_result = b'{"custom_id":"%b","result":%b}' % (custom_id, hostile_line)
        foreign = line.replace(custom_id[:4], b"0000")
        lines = {
            9: (),
            10: (line, line),
            11: (hostile_line, line),
            12: (hostile_result,),
            13: (foreign, line),
        }
        yield from lines.get(code >> 4, (line,))


SKIP_CHECKS = msgspec.json.encode({"skip_checks": get_args(Check)})
"""Options under which planning sends what a model is certain to refuse, because the oracle knows no models."""


@contextmanager
def only_json_lines() -> Iterator[None]:
    """Read every upload as JSON Lines of native requests, as the oracle does."""
    with (
        patch.object(prepare, "detect", lambda _source, _key: UploadFormat()),
        patch.object(prepare, "kind_of", lambda _rows: NATIVE),
    ):
        yield


def whole_job(data: bytes) -> None:
    """Check a job; the first bytes set the batch size, timeouts, corruptions and hostile bytes."""
    (rows_per_batch, short_calls, code_count, stop), rest = take_bytes(data, 4)
    hostile_bytes, body = rest[: stop % 64], rest[stop % 64 :]
    corruption_codes = rest[: code_count % 32]
    api = ScriptedAnthropic(
        lambda names: b"\n".join(corrupted_results(names, corruption_codes, hostile_bytes))
    )
    relay = InMemoryRelay(rows_per_batch % 5 + 1, RemainingTime(short_calls), api)
    with only_json_lines():
        relay.upload("_relay.json", SKIP_CHECKS)
        relay.upload("in/a.jsonl", body)
        relay.finish()
    _check_nothing_lost(relay, api, body)


def _check_nothing_lost(relay: InMemoryRelay, api: ScriptedAnthropic, body: bytes) -> None:
    stored = relay.aws.s3.objects(RESULTS)
    files = {key.rpartition("/")[2]: stored_object.body for key, stored_object in stored.items()}
    manifest = json.loads(files["manifest.json"])
    lines = files["results.jsonl"].split(b"\n")[:-1]
    expected_rows = [] if _is_not_text(manifest) else oracle.expected_rows(body)
    assert manifest["rows"] == len(expected_rows) == len(lines), "rows out = rows in"
    failures = 0
    for number, (expected, line) in enumerate(zip(expected_rows, lines, strict=True), 1):
        custom_id, params = oracle.request_of(expected.data, ROW_BYTES)
        if custom_id is None:
            custom_id = line.partition(b'"custom_id":')[2].partition(b',"result":')[0]
            assert oracle.can_be_the_id(custom_id, expected.data)
        assert line.startswith(b'{"row":%d,"custom_id":%b,"result":' % (number, custom_id))
        assert api.sent.get(number) == params, f"params of row {number}"
        result = line.partition(b'"result":')[2]
        if params is None:
            assert f'"line":{expected.line}'.encode() in result
        failures += b'"type":"succeeded"' not in result
    retry = files.get("retry.jsonl", b"").split(b"\n")[:-1]
    assert set(retry) <= {expected.data for expected in expected_rows}
    assert len(retry) == manifest["rows"] - manifest["counts"].get("succeeded", 0)


def _is_not_text(manifest: Any) -> bool:
    return "not UTF-8 text" in (manifest["reason"] or "")
