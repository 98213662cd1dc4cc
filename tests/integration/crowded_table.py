"""A table with more work than one poll can do, and a clock that advances with each call."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
from botocore.exceptions import ReadTimeoutError

from functions.adapters.clients import QUICK
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.queues import WorkQueues, read_work_message
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table, deserialize, serialize
from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_item import status_key
from functions.poll import poll
from functions.polling.phases import POLL_TIMEOUT_S, Phases
from functions.polling.poll_summary import PollSummary
from functions.services import Services
from functions.settings import PollSettings
from tests.fakes.aws import QUEUES, TOPIC, FakeAws
from tests.fakes.dynamodb import Item
from tests.fakes.s3 import RESULTS
from tests.unit.factories import batch, job
from tests.verification.fuzz.claude_client import claude

MAX_PAUSE_S = 20.0
"""The longest pause of botocore's mode "standard", in seconds. The first is at most 1 s, and each later one doubles."""
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
START_TEXT = timestamps.text(START)
PAGE = 1000


@dataclass
class CrowdedPoll:
    """Poll and its services. Each call takes `call_s` of Lambda's time.

    DynamoDB answers `table_calls` calls; each later one fails after as long as poll's client waits.
    """

    call_s: float
    threads: int = 1
    table_calls: int | None = None
    aws: FakeAws = field(default_factory=FakeAws)
    listed_batches: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    moment: datetime = START
    left_s: float = POLL_TIMEOUT_S

    def __post_init__(self) -> None:
        names = ("dynamodb", "s3", "sqs", "sns")
        clients: list[Any] = [_TimedClient(self, self.aws.client(name), name) for name in names]
        table, s3, sqs, sns = clients
        settings = PollSettings(
            table_name="t", uploads_bucket="u", results_bucket=RESULTS, topic_arn=TOPIC, secret_name="s",
            submit_queue_url=QUEUES["submit"], results_queue_url=QUEUES["results"],
        )  # fmt: skip
        self.services = Services(
            settings=settings,
            table=Table("t", client=table),
            files=ObjectStore(RESULTS, client=s3, threads=1),
            claude=claude(self._answer),
            publisher=EventPublisher(TOPIC, "urn:x", client=sns),
            now=self.now,
        )
        self.work_queues = WorkQueues(
            QUEUES["submit"], QUEUES["results"], client=sqs, clock=self.seconds
        )

    def now(self) -> datetime:
        return self.moment

    def seconds(self) -> float:
        return self.moment.timestamp()

    def spend_time(self, name: str) -> None:
        self.calls.append(name)
        self.left_s -= self.call_s

    def use_table(self) -> None:
        """Count a call to DynamoDB.

        Raises:
            ReadTimeoutError: DynamoDB does not answer any more.
        """
        if self.table_calls is not None:
            self.table_calls -= 1
            if self.table_calls < 0:
                self.left_s -= longest_call_s(QUICK)
                raise ReadTimeoutError(endpoint_url="https://dynamodb")

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.spend_time(f"claude {request.method}")
        after_id = request.url.params.get("after_id")
        first = next(
            (n for n, batch_ in enumerate(self.listed_batches, 1) if batch_["id"] == after_id), 0
        )
        page = {
            "data": self.listed_batches[first : first + PAGE],
            "has_more": first + PAGE < len(self.listed_batches),
        }
        return httpx2.Response(200, json=page, request=request)

    def poll(self) -> PollSummary:
        """Advance the clock, and poll with all of Lambda's time."""
        self.moment += timedelta(seconds=300)
        self.left_s = POLL_TIMEOUT_S
        self.calls.clear()
        return poll(self.services, self.work_queues, Phases(lambda: self.left_s, self.threads))

    def put(self, *items: Job | Batch) -> None:
        for item in items:
            attributes = serialize(msgspec.to_builtins(item))
            self.aws.dynamodb.table[item.job, item.item] = Item(attributes)

    def count_items(self, kind: Callable[[dict[str, Any]], bool]) -> int:
        table_items = (deserialize(item.attributes) for item in self.aws.dynamodb.table.values())
        return sum(1 for item in table_items if kind(item))

    def statuses(self) -> Counter[str]:
        return Counter(str(item.get("status")) for item in self.aws.dynamodb.table.values())

    def woken_items(self) -> set[tuple[str, str]]:
        """Return every item that got a work message since the last call."""
        queues = self.aws.sqs.queues
        bodies = [body for name in ("submit", "results") for body in queues.pop(QUEUES[name], [])]
        messages = [read_work_message(body) for body in bodies]
        return {(message.job, message.item) for message in messages}


class _TimedClient:
    """A client whose calls take time."""

    def __init__(self, crowded_poll: CrowdedPoll, client: Any, service: str) -> None:
        self._crowded_poll, self._client, self._service = crowded_poll, client, service
        self.exceptions = getattr(client, "exceptions", None)

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            if self._service == "dynamodb":
                self._crowded_poll.use_table()
            self._crowded_poll.spend_time(name)
            return getattr(self._client, name)(**arguments)

        return call

    def get_paginator(self, operation: str) -> "_TimedClient":
        paginator = self._client.get_paginator(operation)
        return _TimedClient(self._crowded_poll, paginator, self._service)


def longest_call_s(config: Any) -> float:
    """Return how long a call to AWS may take whose attempts all time out, in seconds."""
    assert config.retries["mode"] == "standard"
    attempts = config.retries["total_max_attempts"]
    pauses_s = sum(min(2.0**retry, MAX_PAUSE_S) for retry in range(attempts - 1))
    return float(attempts * (config.connect_timeout + config.read_timeout) + pauses_s)


def fill_table(
    crowded_poll: CrowdedPoll,
    *,
    open_batches: int,
    waiting: int,
    small_jobs: int,
    unconfirmed: int,
) -> None:
    """Fill the table: open batches have ended, unconfirmed ones were never created."""
    ids = (f"{number:020x}" for number in range(10**9))
    for number in range(open_batches):
        job_id, batch_id = next(ids), f"msgbatch_{number}"
        crowded_poll.put(
            job(job=job_id, status="RUNNING", status_key=status_key("RUNNING", START_TEXT), chunks=1),
            batch(
                job_id, status="IN_PROGRESS", status_key=status_key("IN_PROGRESS", START_TEXT), next_step=None, batch_id=batch_id,
                created_at=START_TEXT, first_sent_at=START_TEXT, intent_at=START_TEXT,
            ),
        )  # fmt: skip
        crowded_poll.listed_batches.append(_ended_batch(batch_id))
    large_job_id = next(ids)
    crowded_poll.put(
        job(
            job=large_job_id,
            status="RUNNING",
            status_key=status_key("RUNNING", START_TEXT),
            chunks=waiting + unconfirmed,
        )
    )
    for number in range(1, waiting + unconfirmed + 1):
        is_unconfirmed = number <= unconfirmed
        status = "UNCONFIRMED" if is_unconfirmed else "WAITING"
        crowded_poll.put(
            batch(
                large_job_id, number, requests=7, status=status, status_key=status_key(status, START_TEXT), next_step=None if is_unconfirmed else "send",
                fingerprint=crowded_poll.services.claude.fingerprint if is_unconfirmed else None, intent_at=START_TEXT if is_unconfirmed else None,
            )
        )  # fmt: skip
    for _ in range(small_jobs):
        job_id = next(ids)
        crowded_poll.put(
            job(
                job=job_id,
                status="PLANNING",
                status_key=status_key("PLANNING", START_TEXT),
                next_step="plan",
            )
        )


def _ended_batch(batch_id: str) -> dict[str, Any]:
    counts = {"processing": 0, "succeeded": 10, "errored": 0, "canceled": 0, "expired": 0}
    return {
        "id": batch_id, "type": "message_batch", "processing_status": "ended", "request_counts": counts,
        "created_at": START_TEXT, "expires_at": START_TEXT, "ended_at": START_TEXT, "results_url": "x",
    }  # fmt: skip
