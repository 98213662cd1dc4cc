"""The adapter for SQS: work messages, which ask a stage to look at an item. Only poll sends them."""

import time
from collections.abc import Callable, Iterable
from itertools import batched
from typing import TYPE_CHECKING

import boto3
import msgspec

from functions.adapters.clients import QUICK
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.items.work_item import SCHEMA, Step
from functions.model.items.work_message import WorkMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_ENTRIES = 10
"""The most messages in one call to SQS."""
RESEND_AFTER_S = 50.0
"""The default pause before a work message is sent again. Under a minute: the next scheduled poll replaces a lost one."""
Slice = tuple[Job | Batch, ...]
_STAGES = {
    Step.PLAN: "submit", Step.SEND: "submit", Step.COLLECT: "results", Step.ASSEMBLE: "results",
    Step.TIDY: "results",
}  # fmt: skip


class WorkQueues:
    """The queues of submit and results."""

    def __init__(
        self,
        submit_url: str,
        results_url: str,
        *,
        resend_after_s: float = RESEND_AFTER_S,
        client: "SQSClient | None" = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._sent = clock, dict[tuple[object, ...], float]()
        self._resend_after_s = resend_after_s
        self._urls = {"submit": submit_url, "results": results_url}
        self._sqs: SQSClient = client or boto3.client("sqs", config=QUICK)

    def slices(self, waiting: Iterable[Job | Batch]) -> dict[str, list[Slice]]:
        """Group waiting items by the queue of their stage, oldest first, in slices of one SQS call each.

        Items whose work message was sent less than ``resend_after_s`` ago are left out: polls may run every second.
        """
        now = self._clock()
        self._sent = {
            key: sent_at
            for key, sent_at in self._sent.items()
            if now - sent_at < self._resend_after_s
        }
        due: dict[str, list[Job | Batch]] = {name: [] for name in self._urls}
        for item in waiting:
            if _progress_key(item) in self._sent:
                continue
            due[_STAGES[Step(item.next_step or "")]].append(item)
        ordered = {
            name: sorted(waiting_items, key=lambda item: item.status_key)
            for name, waiting_items in due.items()
        }
        return {
            name: list(batched(waiting_items, MAX_ENTRIES, strict=False))
            for name, waiting_items in ordered.items()
        }

    def send(self, name: str, waiting: Slice) -> None:
        """Send a work message for each item to a stage's queue. A later poll replaces lost messages."""
        entries = [
            {
                "Id": str(number),
                "MessageBody": msgspec.json.encode(work_message_for(item)).decode(),
            }
            for number, item in enumerate(waiting)
        ]
        self._sqs.send_message_batch(QueueUrl=self._urls[name], Entries=entries)  # type: ignore[arg-type]
        self._sent |= dict.fromkeys(map(_progress_key, waiting), self._clock())


def _progress_key(item: Job | Batch) -> tuple[object, ...]:
    """Return a value that changes when the item is worked on."""
    planned_rows = item.checkpoint.row if isinstance(item, Job) else 0
    return item.job, item.item, item.status_key, item.tries, item.not_before, planned_rows


def work_message_for(item: Job | Batch) -> WorkMessage:
    """Build the work message for a waiting item."""
    return WorkMessage(schema=SCHEMA, job=item.job, item=item.item, next_step=item.next_step or "")


def read_work_message(body: str) -> WorkMessage:
    """Read a queue message.

    Raises:
        msgspec.DecodeError: the body is not a work message.
    """
    return msgspec.json.decode(body, type=WorkMessage)
