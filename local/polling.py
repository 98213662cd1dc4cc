"""Invoke poll twice a second instead of waiting for its schedule of one minute.

Each poll enqueues all due work again. If it ran before a queued message was processed, it would
enqueue a duplicate, and each message starts another container. So the queues must be empty first.
At the deployed interval of one minute this does not happen.
"""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from local.cloud import Cloud
from local.errors import LocalError

if TYPE_CHECKING:
    from mypy_boto3_sqs.literals import QueueAttributeNameType

MAX_FAILURES = 4
INTERVAL_S = 0.5
"""The minimum time between the starts of two invocations."""
MAX_WAIT_S = 5.0
"""Invoke poll after this long even if messages are pending: other work may be due."""


class Polling(AbstractContextManager["Polling"]):
    """Invokes poll from `tick`, one invocation at a time.

    Args:
        cloud: where the stack is deployed.
        outputs: the outputs of the stack.
    """

    def __init__(self, cloud: Cloud, outputs: Mapping[str, str]) -> None:
        self._cloud = cloud
        self._outputs = outputs
        self._started = 0.0
        self._failures = 0
        self._invocation: Future[None] | None = None
        self._executor = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the last invocation, which holds poll's lease, unless an error occurred."""
        self._executor.shutdown(wait=error is None, cancel_futures=error is not None)

    def tick(self) -> None:
        """Start an invocation if none is running and the interval has passed.

        Raises:
            LocalError: several in a row have failed; the message describes the last failure.
        """
        now = time.monotonic()
        if now - self._started < INTERVAL_S or (self._invocation and not self._invocation.done()):
            return
        if now - self._started < MAX_WAIT_S and has_pending_messages(self._cloud, self._outputs):
            return
        self._check_last_invocation()
        self._started = now
        function = self._outputs["PollFunctionName"]
        self._invocation = self._executor.submit(invoke, self._cloud, function)

    def _check_last_invocation(self) -> None:
        error = self._invocation.exception() if self._invocation else None
        if error is None:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= MAX_FAILURES or not isinstance(error, LocalError):
            raise error


def has_pending_messages(cloud: Cloud, outputs: Mapping[str, str]) -> bool:
    """Return whether a queue still has messages waiting or in flight."""
    return any(
        _count_messages(cloud, outputs[queue]) for queue in ("SubmitQueueUrl", "ResultsQueueUrl")
    )


def _count_messages(cloud: Cloud, queue: str) -> int:
    """Count the messages of a queue, including those in flight."""
    names: Sequence[QueueAttributeNameType] = (
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    )
    attributes = cloud.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def invoke(cloud: Cloud, function: str) -> None:
    """Invoke a function as its schedule does, and wait for its result.

    Raises:
        LocalError: it failed, or the local cloud does not answer.
    """
    try:
        answer = cloud.functions.invoke(FunctionName=function, Payload=b"{}")
        payload = answer["Payload"].read()
    except (BotoCoreError, ClientError) as error:
        message = f"{function} could not be invoked: {error}"
        raise LocalError(message) from error
    if "FunctionError" in answer:
        failure = json.loads(payload)
        message = f"{function} failed: {failure.get('errorType')}: {failure.get('errorMessage')}"
        raise LocalError(message)
