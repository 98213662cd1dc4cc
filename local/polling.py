"""Poll, invoked by us every second or so: nobody waits for the schedule's minute here."""

import json
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from botocore.exceptions import BotoCoreError, ClientError

from local.cloud import Cloud
from local.errors import LocalError

FAILURES = 4


class Polling(AbstractContextManager["Polling"]):
    """Invokes poll, one invocation at a time, whenever `tick` finds that it is time.

    Args:
        cloud: where it is deployed.
        function: its name.
        every_s: the least time between the starts of two.
    """

    def __init__(self, cloud: Cloud, function: str, every_s: float = 1.0) -> None:
        self._cloud = cloud
        self._function = function
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
        self._thread.shutdown(wait=False, cancel_futures=True)

    def tick(self) -> None:
        """Start another invocation, if none is under way and it is time.

        Raises:
            LocalError: several in a row have failed; the message says how the last did.
        """
        now = time.monotonic()
        if now - self._began < self._every_s or (self._flight and not self._flight.done()):
            return
        self._judge()
        self._began = now
        self._flight = self._thread.submit(invoke, self._cloud, self._function)

    def _judge(self) -> None:
        error = self._flight.exception() if self._flight else None
        if error is None:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= FAILURES or not isinstance(error, LocalError):
            raise error


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
