"""A harness that can inject a fault at any call of a stage to AWS or Anthropic."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast
from unittest.mock import patch
from urllib.parse import urlsplit

import httpx2
from botocore.response import StreamingBody
from httpx2._transports import default
from urllib3 import BaseHTTPResponse, PoolManager

from functions.adapters.queues import WorkQueues
from functions.adapters.s3 import ObjectStore
from functions.model.streams import cut
from functions.poll import poll
from functions.results import results
from functions.settings import Settings
from functions.submit import submit
from local.simulator import Simulator
from tests.fakes.anthropic import URL, FakeAnthropic
from tests.fakes.aws import QUEUES, TOPIC, FakeAws
from tests.harness import RESULTS, Harness, parse_work_message
from tests.verification.crash.call_counter import CallCounter, ProcessKilled

if TYPE_CHECKING:
    from functions.polling.poll_summary import PollSummary

VISIBILITY_TIMEOUT_S = 960.0
"""The queue's visibility timeout in infra/storage.py."""
START = datetime(2026, 11, 2, 8, 0, tzinfo=UTC)


class CrashHarness(Harness):
    """A harness whose stages may be killed; their messages are delivered again, as by SQS."""

    aws: FakeAws

    def __post_init__(self) -> None:
        self.call_counter, self.polling = CallCounter(), False
        # Tokens of the running stage, and of stages that continued after their lease expired,
        # which Lambda's timeout prevents.
        self.tokens = set[str]()
        self.expired_tokens = set[str]()
        self.redeliveries: list[tuple[float, str, str]] = []
        self.failures: list[BaseException] = []
        self.poll_summaries: list[PollSummary] = []
        self.inspect: Callable[[], None] = lambda: None
        for client in (self.s3, self.sqs, self.sns, self.dynamodb):
            self._wrap(client)
        self.overrides |= {"repeats": "skip"}  # as deployed
        # Counting changes nothing, and neither does the report; both would multiply the calls.
        self.overrides |= {"estimate_rows": 0, "report": "off"}
        super().__post_init__()

    def start_over(self) -> None:
        """Restart with empty buckets, queues, topic and table."""
        self.aws.reset()
        self.simulator.reset()
        self.moment = START
        self.redeliveries.clear()
        self.failures.clear()
        self.poll_summaries.clear()
        self.tokens.clear()
        self.expired_tokens.clear()
        for services in (self.submit, self.results, self.poll):
            services.claude.reload_key()  # as a new container does

    def _wrap(self, client: Any) -> None:
        call = client._make_api_call  # noqa: SLF001 - the one method that every API call goes through

        def call_counted(operation: str, arguments: dict[str, Any]) -> Any:
            name = f"{client.meta.service_model.service_name}.{operation}"
            if token := arguments.get("ExpressionAttributeValues", {}).get(":token"):
                self.tokens.add(token["S"])
            answer = self.call_counter.wrap(name, call)(operation, arguments)
            if operation == "GetObject" and self.call_counter.counting:
                answer["Body"] = _CountedBody(self.call_counter, f"{name} block", answer["Body"])
            return answer

        client._make_api_call = call_counted  # noqa: SLF001

    def _services[S: Settings](self, kind: type[S], more: dict[str, str]) -> Any:
        services = super()._services(kind, more)
        claude: Any = services.claude
        read_key = claude._read_key  # noqa: SLF001 - in Lambda, this is a call to AWS
        claude._read_key = self.call_counter.wrap("secretsmanager.GetSecretValue", read_key)  # noqa: SLF001
        return replace(services, files=ObjectStore(RESULTS, client=self.s3, threads=1))

    def submit_message(self, body: str) -> None:
        self.deliver_all([("submit", body)])

    def deliver_all(self, messages: list[tuple[str, str]]) -> None:
        """Deliver messages to their stages, one after the other; each has its queue's name."""
        for queue, body in messages:
            self._deliver(queue, body)

    def tick(self, seconds: float = 60.0) -> Any:
        self.pass_time(seconds)
        self.polling = True
        self._poll()
        self.polling = False
        self.drain_queues()
        self.inspect()

    def _poll(self) -> None:
        self._run(lambda: self.poll_summaries.append(poll(self.poll, self.work_queues)))

    @property
    def work_queues(self) -> WorkQueues:
        return WorkQueues(self.queues["submit"], self.queues["results"], client=self.sqs)

    def drain_queues(self) -> None:
        due = [redelivery for redelivery in self.redeliveries if redelivery[0] <= self.seconds()]
        self.redeliveries = [
            redelivery for redelivery in self.redeliveries if redelivery[0] > self.seconds()
        ]
        self.deliver_all([(queue, body) for _, queue, body in due])
        for queue in ("submit", "results"):
            self.deliver_all([(queue, body) for body in self._drain(queue)])

    def _deliver(self, queue: str, body: str) -> None:
        context: Any = self.context

        def stage() -> None:
            if queue == "submit":
                submit(self.submit, body, context)
            else:
                results(self.results, parse_work_message(body), context)

        if not self._run(stage):
            self.redeliveries.append((self.seconds() + VISIBILITY_TIMEOUT_S, queue, body))

    def _run(self, stage: Callable[[], Any]) -> bool:
        """Run a stage as Lambda does; return whether it succeeded."""
        previous = self.call_counter.counting, self.call_counter.killed, self.tokens
        self.call_counter.counting, self.call_counter.killed, self.tokens = True, False, set()
        try:
            stage()
        except (ProcessKilled, Exception) as error:  # noqa: BLE001 - Lambda catches them all
            self.failures.append(error)
            self.call_counter.counting = False
            self.inspect()
            return False
        else:
            return True
        finally:
            self.call_counter.counting, self.call_counter.killed, self.tokens = previous


class _CountedBody:
    """The body of an S3 object, read in counted blocks."""

    def __init__(self, call_counter: CallCounter, name: str, body: StreamingBody) -> None:
        self._counter, self._name, self._body = call_counter, name, body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._body.close()

    def read(self, size: int | None = None) -> bytes:
        return self._counter.wrap(self._name, self._body.read)(size)

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        return self._counter.wrap_stream(
            self._name, self._body.iter_chunks(min(size, self._counter.block))
        )


class _CountedStream(httpx2.SyncByteStream):
    """The body of a response, read in counted blocks."""

    def __init__(self, call_counter: CallCounter, name: str, stream: Any) -> None:
        self._counter, self._name, self._stream = call_counter, name, stream

    def __iter__(self) -> Iterator[bytes]:
        return self._counter.wrap_stream(self._name, cut(self._stream, self._counter.block))

    def close(self) -> None:
        self._stream.close()


@contextmanager
def _intercept_http(call_counter: CallCounter, anthropic: FakeAnthropic) -> Iterator[None]:
    """Answer and count the requests of the SDK's client and of the results download."""

    def count_request(
        _transport: httpx2.HTTPTransport, request: httpx2.Request
    ) -> httpx2.Response:
        name = _call_name(request.method, request.url.path)
        answer = call_counter.wrap(name, anthropic.send)(request)
        if call_counter.counting:
            answer.stream = _CountedStream(call_counter, f"{name} block", answer.stream)
        return answer

    def count_download(
        _pools: PoolManager, method: str, url: str, **options: Any
    ) -> BaseHTTPResponse:
        name = _call_name(method, urlsplit(url).path)
        answer: Any = call_counter.wrap(name, anthropic.download)(method, url, **options)
        if call_counter.counting:
            read_stream = answer.stream
            answer.stream = lambda size, **options: call_counter.wrap_stream(
                f"{name} block", cut(read_stream(size, **options), call_counter.block)
            )
        return cast("BaseHTTPResponse", answer)

    with (
        patch.object(httpx2.HTTPTransport, "handle_request", count_request),
        patch.object(PoolManager, "request", count_download),
        patch.object(default, "create_ssl_context", cache(httpx2.create_ssl_context)),
    ):
        yield


def _call_name(method: str, path: str) -> str:
    """Return a name for an API request that is the same for each batch."""
    return f"claude.{method} {re.sub(r'msgbatch_[0-9a-z]+', 'ID', path)}"


@contextmanager
def open_harness_of_type[M: CrashHarness](
    harness_type: type[M], folder: Path, **simulator_options: Any
) -> Iterator[M]:
    """Open a harness of this type in its own folder."""
    simulator, aws = Simulator(folder, **simulator_options), FakeAws()
    s3, sqs, sns, dynamodb = map(aws.client, ("s3", "sqs", "sns", "dynamodb"))
    relay = harness_type(simulator, URL, s3, sqs, sns, dynamodb, TOPIC, QUEUES)
    relay.aws = aws
    with _intercept_http(relay.call_counter, FakeAnthropic(simulator)):
        yield relay


def open_crash_harness(
    folder: Path, **simulator_options: Any
) -> AbstractContextManager[CrashHarness]:
    """Open a crash harness in its own folder."""
    return open_harness_of_type(CrashHarness, folder, **simulator_options)
