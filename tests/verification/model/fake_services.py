"""The far ends of all wires: what AWS and Anthropic answer, as functions of a state. The doors over them are the real ones."""

import urllib.parse
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
from tests.fakes.dynamodb import RefusedError
from tests.verification.model.scenarios import KEY
from tests.verification.model.states import Message, State
from tests.verification.model.world import accept, answers, cancel, lists

if TYPE_CHECKING:
    from tests.verification.model.runs import Applied, Cable

UPLOADS, RESULTS, TABLE = "uploads", "results", "relay"


class _ConditionalCheckFailedError(ClientError):
    pass


class _TransactionCanceledError(ClientError):
    pass


class _TransactionConflictError(ClientError):
    """Never here: one call is over before the next begins."""


class DynamoDB:
    """DynamoDB's client."""

    exceptions = SimpleNamespace(
        ConditionalCheckFailedException=_ConditionalCheckFailedError,
        TransactionCanceledException=_TransactionCanceledError,
        TransactionConflictException=_TransactionConflictError,
    )

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def get_item(self, **arguments: Any) -> Any:
        return self._cable.call("get", lambda s: (s, dynamodb.get(s.table, arguments)))

    def get_paginator(self, _operation: str) -> "DynamoDB":
        return self

    def paginate(self, **arguments: Any) -> Any:
        found = self._cable.call("query", lambda s: (s, dynamodb.query(s.table, arguments)))
        return [{"Items": found}]

    def update_item(self, **arguments: Any) -> Any:
        def taken(state: State) -> "Applied":
            try:
                table, answer = dynamodb.take(state.table, arguments)
            except RefusedError as error:
                return state, _refused(error.seen)
            self._cable.moves.taken(state, arguments)
            return replace(state, table=table), answer

        answer = self._cable.call("take", taken, effect=True)
        step = arguments["ExpressionAttributeValues"].get(":next_step")
        self._cable.moves.step = step["S"] if step else "poll"
        return answer

    def transact_write_items(self, **arguments: Any) -> Any:
        def written(state: State) -> "Applied":
            try:
                table = dynamodb.write(state.table, arguments["TransactItems"])
            except RefusedError:
                return state, _canceled()
            proved = self._cable.moves.written(state, table)
            return replace(state, table=table, marks=state.marks | proved), {}

        return self._cable.call("write", written, effect=True)


def _refused(seen: dict[str, Any]) -> ClientError:
    response: Any = {"Error": {"Code": "ConditionalCheckFailedException"}, "Item": seen}
    return _ConditionalCheckFailedError(response, "UpdateItem")


def _canceled() -> ClientError:
    response: Any = {"Error": {}, "CancellationReasons": [{"Code": "ConditionalCheckFailed"}]}
    return _TransactionCanceledError(response, "TransactWriteItems")


class S3:
    """S3's client: no step is struck at files, they are written before what names them."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def _call(self, apply: Any) -> Any:
        return self._cable.call("file", apply, seen=False)

    def get_object(self, **given: Any) -> Any:
        key, asked = given["Key"], given.get("Range")

        def read(state: State) -> "Applied":
            if key not in state.objects or self._cable.scenario.poisoned(key):
                # What is denied may be allowed again, so plan tries; what is gone ends the job at once.
                code = "AccessDenied" if key == KEY else "NoSuchKey"
                return state, ClientError({"Error": {"Code": code}}, "GetObject")
            return state, state.objects[key]

        body = self._call(read)
        if asked:
            first, last = asked.removeprefix("bytes=").split("-")
            if int(first) >= len(body):
                raise ClientError({"Error": {"Code": "InvalidRange"}}, "GetObject")
            body = body[int(first) : int(last) + 1 if last else None]
        return {"Body": SimpleNamespace(iter_chunks=lambda _size: iter([body]))}

    def head_object(self, **given: Any) -> Any:
        def look(state: State) -> "Applied":
            absent = ClientError({"Error": {"Code": "404"}}, "HeadObject")
            body = state.objects.get(given["Key"])
            if body is None:
                return state, absent
            return state, {"ETag": "of the body", "ContentLength": len(body), "VersionId": "v1"}

        return self._cable.call("head", look)

    def get_paginator(self, _listing: str) -> "S3":
        return self

    def paginate(self, **given: Any) -> Any:
        keys = self._call(lambda s: (s, sorted(s.objects)))
        return [{"Contents": [{"Key": key} for key in keys if key.startswith(given["Prefix"])]}]

    def put_object(self, **given: Any) -> None:
        self._put(given["Key"], given["Body"])

    def put_object_tagging(self, **_given: Any) -> None:
        """Threads of the real door come here: a mark is no state."""

    def _put(self, key: str, body: bytes) -> None:
        self._call(lambda s: (replace(s, objects={**s.objects, key: body}), None))


class Topic:
    """SNS's client."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def publish(self, **given: Any) -> None:
        event = msgspec.json.decode(given["Message"])

        def published(state: State) -> "Applied":
            return replace(state, events=(*state.events, event)), None

        self._cable.call("publish", published, effect=True)


class Queues:
    """SQS's client."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def send_message_batch(self, *, QueueUrl: str, Entries: Any) -> None:  # noqa: N803 - AWS's names
        new = tuple(Message(QueueUrl, one["MessageBody"]) for one in Entries)

        def sent(state: State) -> "Applied":
            return replace(state, messages=(*state.messages, *new)), None

        self._cable.call("send", sent, effect=True)


class Sdk:
    """Anthropic's client of the SDK, for the real door over it."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def post(self, path: str, *, content: Any = None, **_options: Any) -> Any:
        if path.endswith("/cancel"):
            batch_id = path.split("/")[-2]
            said = self._cable.answered_as
            answered = self._cable.call(
                "cancel", lambda s: cancel(s, batch_id, said()), effect=True
            )
            return _checked(answered)
        body = b"".join(content)
        how = self._cable.scenario
        return _checked(
            self._cable.call(
                "create",
                lambda s: accept(s, body, how, self._cable.answered_as(), self._cable.moves),
                effect=True,
            )
        )

    def get(self, _path: str, **_options: Any) -> Any:
        said = self._cable.answered_as
        return _checked(self._cable.call("listing", lambda s: lists(s, said())))


class Download:
    """urllib3's pools, by which results are read."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable

    def request(self, _method: str, url: str, **_options: Any) -> urllib3.BaseHTTPResponse:
        batch_id, said = url.split("/")[-2], self._cable.answered_as
        found = self._cable.call("results", lambda s: answers(s, batch_id, said()))
        status, headers, body = found
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


def _checked(answer: list[Any]) -> Any:
    """Raise what the SDK raises: no answer at all, or one of an error."""
    status, headers, body = answer
    request = httpx2.Request("POST", "http://claude")
    if status == 0:
        raise anthropic.APIConnectionError(request=request)
    response = httpx2.Response(status, headers=headers, content=body, request=request)
    if status >= 400:
        kind = _ERRORS.get(status, anthropic.APIStatusError)
        raise kind(str(status), response=response, body=None)
    return response


class _Wired(Claude):
    """The real door, on clients of the model."""

    sdk: Any
    download: Any

    @property
    def _client(self) -> Any:
        return self.sdk

    @property
    def _http(self) -> Any:
        return self.download


class Opened:
    """The doors of the three functions."""

    def __init__(self, cable: "Cable") -> None:
        self._cable = cable
        clients: list[Any] = [DynamoDB(cable), S3(cable), Topic(cable), Queues(cable)]
        self._table, self._files, self._topic, queues = clients
        how = cable.scenario
        self.submit = self._services(
            SubmitSettings,
            queue_url="submit",
            requests_per_batch=how.rows_per_batch,
            attempts=how.attempts,
        )
        self.poll = self._services(
            PollSettings,
            submit_queue_url="submit",
            results_queue_url="results",
            cancellation_window_s=600,
        )
        self.results = self._services(ResultsSettings, queue_url="results", fetches=2)
        # A container that remembers no work message: what it does hangs on the state alone.
        self.work_queues = WorkQueues(
            "submit", "results", client=queues, clock=count(step=100).__next__
        )
        self.context: Any = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000)

    def _services[S: Settings](self, kind: type[S], **more: Any) -> Services[S]:
        settings = kind(
            table_name=TABLE, uploads_bucket=UPLOADS, results_bucket=RESULTS, topic_arn="topic",
            secret_name="secret", **more,
        )  # fmt: skip
        claude = _Wired(base_url="http://claude", api_version="x", read_key=lambda _: "sk-model")
        claude.sdk, claude.download = Sdk(self._cable), Download(self._cable)
        return Services(
            settings=settings,
            table=Table(TABLE, client=self._table),
            files=ObjectStore(RESULTS, client=self._files, threads=1),
            claude=claude,
            publisher=EventPublisher("topic", "urn:model", client=self._topic),
            now=self._cable.now,
        )


def s3_event(key: str, size: int, at: str) -> Message:
    """Write S3's event of a new object."""
    thing = {"key": urllib.parse.quote_plus(key), "size": size, "versionId": "v1"}
    record = {"eventTime": at, "s3": {"bucket": {"name": UPLOADS}, "object": thing}}
    return Message("submit", msgspec.json.encode({"Records": [record]}).decode())
