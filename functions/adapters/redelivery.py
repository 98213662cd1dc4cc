"""Make a message that failed visible again soon, in place of after the queue's visibility timeout.

What an item in the table waits for is poll's to say, and costs a message that comes too early nothing. But until an
upload is claimed, only its message knows of it: a fault before that must not cost a quarter of an hour.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.clients import QUICK

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

PAUSE_S, MAX_PAUSE_S = 30, 900
"""Seconds until a message is visible again: so many more after each receive, up to a quarter of an hour."""
logger = Logger(child=True)


class Redelivery:
    """The queue whose messages a function takes."""

    def __init__(self, queue_url: str, *, client: "SQSClient | None" = None) -> None:
        self._queue_url = queue_url
        self._sqs: SQSClient = client or boto3.client("sqs", config=QUICK)

    @contextmanager
    def soon_after_error(self, message: dict[str, Any]) -> Iterator[None]:
        """Make a message visible again soon if its work fails; the error goes on to the runtime.

        Args:
            message: a record of the event that SQS gives to Lambda.
        """
        try:
            yield
        except Exception:
            self._release(message)
            raise

    def _release(self, message: dict[str, Any]) -> None:
        receives = int(message.get("attributes", {}).get("ApproximateReceiveCount", 1))
        try:
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url,
                ReceiptHandle=message["receiptHandle"],
                VisibilityTimeout=min(PAUSE_S * receives, MAX_PAUSE_S),
            )
        except (ClientError, BotoCoreError) as error:  # it comes back later, all the same
            logger.warning("message stays hidden", extra={"problem": type(error).__name__})
