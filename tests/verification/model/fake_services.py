"""Clients of AWS and Anthropic over a state of the model; the adapters above them are real."""

import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import msgspec
import urllib3
from botocore.exceptions import ClientError

from functions.adapters.anthropic_api import Claude
from functions.adapters.event_publisher import EventPublisher
from functions.adapters.queues import WorkQueues
from functions.adapters.s3 import ObjectStore
from functions.adapters.table import Table
from functions.services import Services
from functions.settings import PollSettings, ResultsSettings, Settings, SubmitSettings
from tests.fakes import dynamodb
from tests.fakes.dynamodb import ConditionFailedError
from tests.verification.model.anthropic_model import (
    cancel_batch,
    create_batch,
    list_batches,
    read_results,
)
from tests.verification.model.scenarios import KEY
from tests.verification.model.states import Message, State

if TYPE_CHECKING:
    from tests.verification.model.runs import Applied, CallReplayer

UPLOADS, RESULTS, TABLE = "uploads", "results", "relay"


class _ConditionalCheckFailedError(ClientError):
    pass


class _TransactionCanceledError(ClientError):
    pass


class _TransactionConflictError(ClientError):
    """Never raised: calls do not overlap."""


class ModelDynamoDB:
    """The DynamoDB client."""

    exceptions = SimpleNamespace(
        ConditionalCheckFailedException=_ConditionalCheckFailedError,
        TransactionCanceledException=_TransactionCanceledError,
        TransactionConflictException=_TransactionConflictError,
    )

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def get_item(self, **arguments: Any) -> Any:
        return self._replayer.call("get", lambda s: (s, dynamodb.get(s.table, arguments)))

    def get_paginator(self, _operation: str) -> "ModelDynamoDB":
        return self

    def paginate(self, **arguments: Any) -> Any:
        result = self._replayer.call("query", lambda s: (s, dynamodb.query(s.table, arguments)))
        return [{"Items": result}]

    def update_item(self, **arguments: Any) -> Any:
        def acquire(state: State) -> "Applied":
            try:
                table, answer = dynamodb.update(state.table, arguments)
            except ConditionFailedError as error:
                return state, _refused(error.seen)
            self._replayer.checker.check_acquire(state, arguments)
            return replace(state, table=table), answer

        answer = self._replayer.call("take", acquire, has_effect=True)
        step = arguments["ExpressionAttributeValues"].get(":next_step")
        self._replayer.checker.step = step["S"] if step else "poll"
        return answer

    def transact_write_items(self, **arguments: Any) -> Any:
        def write(state: State) -> "Applied":
            try:
                table = dynamodb.write(state.table, arguments["TransactItems"])
            except ConditionFailedError:
                return state, _canceled()
            absent = self._replayer.checker.check_write(state, table)
            return replace(state, table=table, marks=state.marks | absent), {}

        return self._replayer.call("write", write, has_effect=True)


def _refused(can_fail: dict[str, Any]) -> ClientError:
    response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": can_fail}
    return _ConditionalCheckFailedError(response, "UpdateItem")


def _canceled() -> ClientError:
    response: Any = {"Error": {}, "CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}
    return _TransactionCanceledError(response, "TransactWriteItems")


class _Body(BytesIO):
    """A response body: read whole, or in one chunk."""

    def iter_chunks(self, _size: int) -> Iterator[bytes]:
        yield self.read()


class ModelS3:
    """The S3 client; it injects no faults, since files are written before what names them."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def _call(self, apply: Any) -> Any:
        return self._replayer.call("file", apply, can_fail=False)

    def get_object(self, **parameters: Any) -> Any:
        key, byte_range = parameters["Key"], parameters.get("Range")

        def read_object(state: State) -> "Applied":
            if key not in state.objects or self._replayer.scenario.is_unreadable(key):
                # Access that is denied may be granted again, so plan retries; a missing object
                # ends the job.
                code = "AccessDenied" if key == KEY else "NoSuchKey"
                return state, ClientError({"Error": {"Code": code}}, "GetObject")
            return state, state.objects[key]

        body = self._call(read_object)
        if byte_range:
            first, last = byte_range.removeprefix("bytes=").split("-")
            if int(first) >= len(body):
                raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
            body = body[int(first) : int(last) + 1 if last else None]
        return {"Body": _Body(body)}

    def head_object(self, **parameters: Any) -> Any:
        def head_object_(state: State) -> "Applied":
            absent = ClientError({"Error": {"Code": "404"}}, "HeadObject")
            body = state.objects.get(parameters["Key"])
            if body is None:
                return state, absent
            return state, {"ETag": "of the body", "ContentLength": len(body), "VersionId": "v1"}

        return self._replayer.call("head", head_object_)

    def get_paginator(self, _listing: str) -> "ModelS3":
        return self

    def paginate(self, **parameters: Any) -> Any:
        keys = self._call(lambda s: (s, sorted(s.objects)))
        return [
            {"Contents": [{"Key": key} for key in keys if key.startswith(parameters["Prefix"])]}
        ]

    def put_object(self, **parameters: Any) -> None:
        self._put(parameters["Key"], parameters["Body"])

    def put_object_tagging(self, **_given: Any) -> None:
        """Ignore tags: threads call this, and tags are not part of the state."""

    def _put(self, key: str, body: bytes) -> None:
        self._call(lambda s: (replace(s, objects={**s.objects, key: body}), None))


class ModelSns:
    """The SNS client."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def publish(self, **parameters: Any) -> None:
        event = msgspec.json.decode(parameters["Message"])

        def add_event(state: State) -> "Applied":
            return replace(state, events=(*state.events, event)), None

        self._replayer.call("publish", add_event, has_effect=True)


class ModelSqs:
    """The SQS client."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> None:  # noqa: N803 - AWS's names
        new_messages = tuple(Message(QueueUrl, Entry["MessageBody"]) for Entry in Entries)

        def add_messages(state: State) -> "Applied":
            return replace(state, messages=(*state.messages, *new_messages)), None

        self._replayer.call("send", add_messages, has_effect=True)


class ModelSdk:
    """The client of Anthropic's SDK, below the real adapter."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def post(self, path: str, *, content: Any = None, **_options: Any) -> Any:
        if path.endswith("/cancel"):
            batch_id = path.split("/")[-2]
            disturbance = self._replayer.current_disturbance
            answer = self._replayer.call(
                "cancel", lambda s: cancel_batch(s, batch_id, disturbance()), has_effect=True
            )
            return _raise_errors(answer)
        body = b"".join(content)
        scenario = self._replayer.scenario
        return _raise_errors(
            self._replayer.call(
                "create",
                lambda s: create_batch(
                    s, body, scenario, self._replayer.current_disturbance(), self._replayer.checker
                ),
                has_effect=True,
            )
        )

    def get(self, _path: str, **_options: Any) -> Any:
        disturbance = self._replayer.current_disturbance
        return _raise_errors(
            self._replayer.call("listing", lambda s: list_batches(s, disturbance()))
        )


class ModelDownloads:
    """urllib3's pools, through which results are downloaded."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer

    def request(self, _method: str, url: str, **_options: Any) -> urllib3.BaseHTTPResponse:
        batch_id, disturbance = url.split("/")[-2], self._replayer.current_disturbance
        result = self._replayer.call("results", lambda s: read_results(s, batch_id, disturbance()))
        status, headers, body = result
        if status == 0:
            message = "no answer"
            raise urllib3.exceptions.ProtocolError(message)
        return urllib3.HTTPResponse(BytesIO(body), headers, status, preload_content=False)

    def clear(self) -> None:
        pass


_ERRORS: dict[int, type[anthropic.APIStatusError]] = {
    401: anthropic.AuthenticationError,
    404: anthropic.NotFoundError,
}


def _raise_errors(answer: list[Any]) -> Any:
    """Raise the SDK's error for a missing answer or an error status."""
    status, headers, body = answer
    request = httpx2.Request("POST", "http://claude")
    if status == 0:
        raise anthropic.APIConnectionError(request=request)
    response = httpx2.Response(status, headers=headers, content=body, request=request)
    if status >= 400:
        kind = _ERRORS.get(status, anthropic.APIStatusError)
        raise kind(str(status), response=response, body=None)
    return response


class _ModelClaude(Claude):
    """The real adapter over clients of the model."""

    sdk: Any
    download: Any

    @property
    def _client(self) -> Any:
        return self.sdk

    @property
    def _http(self) -> Any:
        return self.download


class ModelServices:
    """The services of the three functions."""

    def __init__(self, replayer: "CallReplayer") -> None:
        self._replayer = replayer
        clients: list[Any] = [
            ModelDynamoDB(replayer),
            ModelS3(replayer),
            ModelSns(replayer),
            ModelSqs(replayer),
        ]
        self._table, self._files, self._topic, queues = clients
        scenario = replayer.scenario
        self.submit = self._services(
            SubmitSettings,
            queue_url="submit",
            requests_per_batch=scenario.rows_per_batch,
            attempts=scenario.attempts,
            estimate_rows=0,
            report="off",
        )
        self.poll = self._services(
            PollSettings,
            submit_queue_url="submit",
            results_queue_url="results",
            cancellation_window_s=600,
        )
        self.results = self._services(ResultsSettings, queue_url="results", incomplete_downloads=2)
        # The container remembers no work message, so that behavior depends on the state alone.
        self.work_queues = WorkQueues(
            "submit", "results", client=queues, clock=count(step=100).__next__
        )
        self.context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)

    def _services[S: Settings](self, kind: type[S], **more: Any) -> Services[S]:
        settings = kind(
            table_name=TABLE, uploads_bucket=UPLOADS, results_bucket=RESULTS, topic_arn="topic",
            secret_name="secret", **more,
        )  # fmt: skip
        claude = _ModelClaude(
            base_url="http://claude", api_version="x", read_key=lambda _: "sk-model"
        )
        claude.sdk, claude.download = ModelSdk(self._replayer), ModelDownloads(self._replayer)
        return Services(
            settings=settings,
            table=Table(TABLE, client=self._table),
            files=ObjectStore(RESULTS, client=self._files, threads=1),
            claude=claude,
            publisher=EventPublisher("topic", "urn:model", client=self._topic),
            now=self._replayer.now,
        )


def s3_event(key: str, size: int, event_time: str) -> Message:
    """Return S3's event of a new object."""
    s3_object = {"key": urllib.parse.quote_plus(key), "size": size, "versionId": "v1"}
    record = {"eventTime": event_time, "s3": {"bucket": {"name": UPLOADS}, "object": s3_object}}
    return Message("submit", msgspec.json.encode({"Records": [record]}).decode())
