"""The adapter that invokes poll immediately when a stage has finished something, ahead of the schedule."""

import time
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

REQUEST = b'{"requested":true}'
"""The event of a poll that a stage asks for; the schedule's is empty."""
logger = Logger(child=True)


class PollInvoker:
    """Invokes poll asynchronously. If that fails, the next scheduled poll does the work.

    Args:
        function: poll's function name; empty for none.
    """

    def __init__(self, function: str, *, client: "LambdaClient | None" = None) -> None:
        self._function, self._injected_client = function, client

    @cached_property
    def _lambda(self) -> "LambdaClient":
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        client = self._injected_client or boto3.client("lambda", config=config)
        client.meta.events.register("before-call.lambda.Invoke", _start_trace)
        return client

    def fire(self) -> None:
        """Invoke poll."""
        if not self._function:
            return
        try:
            self._lambda.invoke(
                FunctionName=self._function, InvocationType="Event", Payload=REQUEST
            )
        except (BotoCoreError, ClientError) as error:
            logger.warning("poll not invoked", extra={"problem": type(error).__name__})


def _start_trace(params: dict[str, Any], **_: object) -> None:
    """Start a new trace for each poll.

    Lambda stops an invocation after about 16 in one trace, as a loop, even through queues. Poll and the stages
    invoke each other more often than that in a job of several attempts. This loop ends when no work is left.
    """
    root = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    params["headers"]["X-Amzn-Trace-Id"] = root
