"""The door to the queues: a hint to look at an item. Only poll sends them."""

from typing import TYPE_CHECKING

import boto3
import msgspec

from functions.batches.items import SCHEMA, Batch, Hint, Job, Step

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MOST = 10
"""Messages that one call to SQS carries."""


class Hints:
    """The queues of submit and of results."""

    def __init__(
        self, submit_url: str, results_url: str, *, client: "SQSClient | None" = None
    ) -> None:
        self._urls = {
            Step.PLAN: submit_url, Step.SEND: submit_url,
            Step.COLLECT: results_url, Step.ASSEMBLE: results_url, Step.TIDY: results_url,
        }  # fmt: skip
        self._sqs: SQSClient = client or boto3.client("sqs")

    def wake(self, waiting: list[Job | Batch]) -> int:
        """Send a hint for each item, to the stage it waits for; a hint lost is sent by the next poll."""
        for url in dict.fromkeys(self._urls.values()):
            due = [
                hint for one in waiting if self._urls[Step((hint := hint_for(one)).next)] == url
            ]
            for at in range(0, len(due), MOST):
                entries = [
                    {"Id": str(number), "MessageBody": msgspec.json.encode(hint).decode()}
                    for number, hint in enumerate(due[at : at + MOST])
                ]
                self._sqs.send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
        return len(waiting)


def hint_for(item: Job | Batch) -> Hint:
    """Make the hint for an item that waits."""
    return Hint(schema=SCHEMA, job=item.job, item=item.item, next=item.next or "")


def read_hint(body: str) -> Hint:
    """Read a queue message.

    Raises:
        msgspec.DecodeError: it is no hint.
    """
    return msgspec.json.decode(body, type=Hint)
