"""Poll, invoked by us every second or so: nobody waits for the schedule's minute here.

Poll wakes whatever waits, each time anew. Invoked again before a function that was woken has even
started, it would wake it again, and each message starts another container: so we look first whether
the queues are empty. Once a minute, as deployed, that cannot happen.
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

FAILURES = 4
BUSY_S = 5.0
"""How long a busy function keeps us from invoking poll; others may have something to be woken for."""


class Polling(AbstractContextManager["Polling"]):
    """Invokes poll, one invocation at a time, whenever `tick` finds that it is time.

    Args:
        cloud: where it is deployed.
        outputs: of the stack.
        every_s: the least time between the starts of two.
    """

    def __init__(self, cloud: Cloud, outputs: Mapping[str, str], every_s: float = 1.0) -> None:
        self._cloud = cloud
        self._outputs = outputs
        self._every_s = every_s
        self._began = 0.0
        self._failures = 0
        self._flight: Future[None] | None = None
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the last invocation end, unless all is being given up: it holds poll's lease."""
        self._thread.shutdown(wait=error is None, cancel_futures=error is not None)

    def tick(self) -> None:
        """Start another invocation, if none is under way and it is time.

        Raises:
            LocalError: several in a row have failed; the message says how the last did.
        """
        now = time.monotonic()
        if now - self._began < self._every_s or (self._flight and not self._flight.done()):
            return
        if now - self._began < BUSY_S and busy(self._cloud, self._outputs):
            return
        self._judge()
        self._began = now
        function = self._outputs["PollFunctionName"]
        self._flight = self._thread.submit(invoke, self._cloud, function)

    def _judge(self) -> None:
        error = self._flight.exception() if self._flight else None
        if error is None:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES or not isinstance(error, LocalError):
            raise error


def busy(cloud: Cloud, outputs: Mapping[str, str]) -> bool:
    """Tell whether a stage that was woken has not done its work yet."""
    return any(_messages(cloud, outputs[queue]) for queue in ("SubmitQueueUrl", "ResultsQueueUrl"))


def _messages(cloud: Cloud, queue: str) -> int:
    """Count what lies in a queue, or is being worked on."""
    names: Sequence[QueueAttributeNameType] = (
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
    )
    told = cloud.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(int(told[name]) for name in names)


def invoke(cloud: Cloud, function: str) -> None:
    """Invoke a function as its schedule does, and wait for its end.

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
        told = json.loads(payload)
        message = f"{function} failed: {told.get('errorType')}: {told.get('errorMessage')}"
        raise LocalError(message)
