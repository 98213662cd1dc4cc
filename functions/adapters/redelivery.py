"""Make a failed message visible again before the queue's visibility timeout ends.

Poll finds items in the table again, so their messages may be lost. An unclaimed upload is known only by its
message, so a failure before the claim must not delay it by a quarter of an hour.
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
"""Seconds until a failed message is visible again: this many per receive, at most 15 minutes."""
logger = Logger(child=True)


class Redelivery:
    """The queue whose messages a function handles."""

    def __init__(self, queue_url: str, *, client: "SQSClient | None" = None) -> None:
        self._queue_url = queue_url
        self._sqs: SQSClient = client or boto3.client("sqs", config=QUICK)

    @contextmanager
    def redelivering_on_error(self, message: dict[str, Any]) -> Iterator[None]:
        """Make a message visible again soon if its work raises; the error propagates to the runtime.

        Args:
            message: a record of Lambda's SQS event.
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
        except (ClientError, BotoCoreError) as error:
            # The message returns after the queue's visibility timeout.
            logger.warning(
                "message visibility not changed", extra={"problem": type(error).__name__}
            )
