"""Whole jobs, through the real stages over wires in memory: as many lines out as rows in, whatever comes in.

What the upload holds, how it is cut, when a stage is cut short, and what Claude's results look like is all drawn
from the bytes.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import httpx2
import msgspec

from functions.adapters.event_publisher import EventPublisher
from functions.adapters.queues import WorkQueues, read_work_message
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.model import timestamps
from functions.poll import poll
from functions.results import results
from functions.services import Services
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings
from functions.submit import submit
from tests.fakes.aws import QUEUES, TOPIC, Aws
from tests.fakes.s3 import RESULTS, UPLOADS
from tests.harness import s3_event
from tests.verification.fuzz import oracle
from tests.verification.fuzz.dials import dials
from tests.verification.fuzz.wire import claude

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TICKS = 40
TICK_S = 300.0
ROW_BYTES = 300


class Clock:
    """What a Lambda is told it has left: on some calls nothing, so that a plan stops and goes on later."""

    def __init__(self, short: int) -> None:
        self.short, self.calls = short, 0

    def get_remaining_time_in_millis(self) -> int:
        self.calls += 1
        cut = self.short >> (self.calls % 8) & 1 and self.calls < 60
        return 1000 if cut else 900_000


@cache
def _aws() -> tuple[Aws, dict[str, Any]]:
    """Open one AWS for all jobs: clients take long to make."""
    aws = Aws()
    return aws, {name: aws.client(name) for name in ("s3", "sqs", "sns", "dynamodb")}


@dataclass
class Relay:
    """A deployment of our own, in memory."""

    per_batch: int
    clock: Clock
    answer: Callable[[httpx2.Request], httpx2.Response]
    moment: datetime = AT

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
        event = s3_event(UPLOADS, key, len(body), stored["VersionId"], timestamps.text(AT))
        self.aws.sqs.queues[QUEUES["submit"]] = [event]
        self.work_off()

    def tick(self) -> bool:
        """Let time pass and poll; False where nothing is left to do."""
        self.moment += timedelta(seconds=TICK_S)
        urls = {
            "submit_queue_url": QUEUES["submit"],
            "results_queue_url": QUEUES["results"],
        }
        services = self.services(PollSettings, **urls)
        poll(services, WorkQueues(QUEUES["submit"], QUEUES["results"], client=self.clients["sqs"]))
        self.work_off()
        left = services.items.unfinished()
        return bool(left.jobs or left.batches or left.events)

    def finish(self) -> None:
        """Tick until nothing is left to do, which must come."""
        for _ in range(TICKS):
            if not self.tick():
                return
        message = f"not done after {TICKS} ticks: {self.aws.dynamodb.table}"
        raise AssertionError(message)

    def work_off(self) -> None:
        context: Any = self.clock
        sending = self.services(
            SubmitSettings,
            queue_url="submit",
            requests_per_batch=self.per_batch,
            row_bytes=ROW_BYTES,
            repeats="run",
        )
        for body in self.aws.sqs.queues.pop(QUEUES["submit"], []):
            submit(sending, body, context)
        collecting = self.services(ResultsSettings, queue_url="results", fetches=2, fetch_s=60)
        for body in self.aws.sqs.queues.pop(QUEUES["results"], []):
            results(collecting, read_work_message(body), context)


class _Create(msgspec.Struct):
    requests: list["_Sent"]


class _Sent(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


@dataclass
class Anthropic:
    """The API, whose results are what the bytes make of them."""

    spoil: Callable[[list[bytes]], bytes]
    batches: dict[str, list[_Sent]] = field(default_factory=dict)
    sent: dict[int, bytes] = field(default_factory=dict)

    def __call__(self, asked: httpx2.Request) -> httpx2.Response:
        if asked.method == "POST":
            return _json(self._create(asked.read()))
        if asked.url.path.endswith("/results"):
            return httpx2.Response(200, content=self._results(asked.url.path.split("/")[-2]))
        return _json({"data": [self._shape(one) for one in self.batches], "has_more": False})

    def _create(self, body: bytes) -> dict[str, object]:
        requests = msgspec.json.decode(body, type=_Create).requests
        name = f"msgbatch_{len(self.batches):05d}"
        self.batches[name] = requests
        for one in requests:
            self.sent[int(one.custom_id.rpartition("-")[2])] = bytes(one.params)
        return self._shape(name)

    def _shape(self, name: str) -> dict[str, object]:
        counts = {"processing": 0, "succeeded": len(self.batches[name])}
        return {
            "id": name, "processing_status": "ended", "request_counts": counts,
            "created_at": timestamps.text(AT + timedelta(seconds=1)), "expires_at": timestamps.text(AT + timedelta(days=1)),
        }  # fmt: skip

    def _results(self, name: str) -> bytes:
        return self.spoil([one.custom_id.encode() for one in self.batches[name]])


def _json(document: object) -> httpx2.Response:
    return httpx2.Response(
        200, content=json.dumps(document), headers={"content-type": "application/json"}
    )


_KINDS = (
    b'{"type":"succeeded","message":{"model":"claude-haiku-4-5","usage":{"input_tokens":5}}}',
    b'{"type":"succeeded"}',
    b'{"type":"errored","error":{"type":"error","error":{"type":"overloaded_error"}}}',
    b'{"type":"errored","error":{"type":"error","error":{"type":"invalid_request_error"}}}',
    b'{"type":"expired"}',
    b'{"type":"never_heard_of","row":7,"custom_id":"00001-1"}',
    b"{}",
    b"null",
)


def spoiled(names: list[bytes], wishes: bytes, hostile: bytes) -> Iterator[bytes]:
    """Give lines of results: most as they should be; some missing, doubled, foreign, or no line at all."""
    strange = hostile.replace(b"\n", b"")
    for at, name in enumerate(names):
        wish = wishes[at % len(wishes)] if wishes else 0
        line = b'{"custom_id":"%b","result":%b}' % (name, _KINDS[wish % 8])
        odd = b'{"custom_id":"%b","result":%b}' % (name, strange)
        foreign = line.replace(name[:4], b"0000")
        told = {9: (), 10: (line, line), 11: (strange, line), 12: (odd,), 13: (foreign, line)}
        yield from told.get(wish >> 4, (line,))


def whole_job(data: bytes) -> None:
    """Four dials (rows of a batch, cuts of time, results' fates, how much of the bytes is hostile), then the upload."""
    (per_batch, short, fates, cut), rest = dials(data, 4)
    hostile, body = rest[: cut % 64], rest[cut % 64 :]
    wishes = rest[: fates % 32]
    api = Anthropic(lambda names: b"\n".join(spoiled(names, wishes, hostile)))
    relay = Relay(per_batch % 5 + 1, Clock(short), api)
    relay.upload("in/a.jsonl", body)
    relay.finish()
    _nothing_lost(relay, api, body)


def _nothing_lost(relay: Relay, api: Anthropic, body: bytes) -> None:
    stored = relay.aws.s3.objects(RESULTS)
    files = {key.rpartition("/")[2]: found.body for key, found in stored.items()}
    manifest = json.loads(files["manifest.json"])
    lines = files["results.jsonl"].split(b"\n")[:-1]
    spots = [] if _is_no_text(manifest) else oracle.spots(body)
    assert manifest["rows"] == len(spots) == len(lines), "rows out = rows in"
    failed = 0
    for number, (spot, line) in enumerate(zip(spots, lines, strict=True), 1):
        custom_id, params = oracle.request_of(spot.data, ROW_BYTES)
        if custom_id is None:
            custom_id = line.partition(b'"custom_id":')[2].partition(b',"result":')[0]
            assert oracle.can_be_the_id(custom_id, spot.data)
        assert line.startswith(b'{"row":%d,"custom_id":%b,"result":' % (number, custom_id))
        assert api.sent.get(number) == params, f"params of row {number}"
        result = line.partition(b'"result":')[2]
        if params is None:
            assert f'"line":{spot.line}'.encode() in result
        failed += b'"type":"succeeded"' not in result
    retry = files.get("retry.jsonl", b"").split(b"\n")[:-1]
    assert set(retry) <= {spot.data for spot in spots}
    assert len(retry) == manifest["rows"] - manifest["counts"].get("succeeded", 0)


def _is_no_text(manifest: Any) -> bool:
    return "not UTF-8 text" in (manifest["reason"] or "")
