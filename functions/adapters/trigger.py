"""The adapter for poll: a stage that has made something ready asks for a poll at once, and does not wait for the schedule."""

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


class PollTrigger:
    """Invokes poll asynchronously. Where that fails, the schedule's next tick does the work.

    Args:
        function: poll's name; empty where there is none to invoke.
    """

    def __init__(self, function: str, *, client: "LambdaClient | None" = None) -> None:
        self._function, self._given = function, client

    @cached_property
    def _lambda(self) -> "LambdaClient":
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        client = self._given or boto3.client("lambda", config=config)
        client.meta.events.register("before-call.lambda.Invoke", _begin_a_trace)
        return client

    def fire(self) -> None:
        """Ask for a poll."""
        if not self._function:
            return
        try:
            self._lambda.invoke(
                FunctionName=self._function, InvocationType="Event", Payload=REQUEST
            )
        except (BotoCoreError, ClientError) as error:
            logger.warning("poll not invoked", extra={"problem": type(error).__name__})


def _begin_a_trace(params: dict[str, Any], **_: object) -> None:
    """Let each poll begin a trace of its own.

    Lambda counts the invocations of a trace, through queues, too, and stops one after some sixteen, as a loop. Poll wakes
    stages that wake poll: a job of a few attempts is longer than that. What ends this loop is that nothing is left to do.
    """
    root = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]}"
    params["headers"]["X-Amzn-Trace-Id"] = root
