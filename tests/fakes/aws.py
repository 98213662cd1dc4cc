"""An in-memory AWS account: real boto3 clients whose calls are answered here.

botocore still validates every argument. `test_conformance.py` compares each answer with moto's.
"""

import re
import threading
from collections.abc import Mapping
from copy import copy
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
from botocore import xform_name
from botocore.validate import validate_parameters

from tests.fakes import dynamodb
from tests.fakes.errors import FakeAwsError
from tests.fakes.messaging import FakeSns, FakeSqs
from tests.fakes.s3 import FakeS3

REGION = "eu-central-1"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:events"
QUEUES = {name: f"https://sqs.{REGION}.amazonaws.com/123456789012/{name}" for name in ("submit", "results", "events")}  # fmt: skip
"""Queue URLs by name; `events` is subscribed to the topic."""


class FakeDynamoDB:
    """DynamoDB with one table, whatever its name."""

    def __init__(self) -> None:
        self.table: dynamodb.Table = {}

    def get_item(self, **arguments: Any) -> Any:
        return dynamodb.get(self.table, arguments)

    def query(self, **arguments: Any) -> Any:
        return {"Items": dynamodb.query(self.table, arguments)}

    def scan(self, **_: Any) -> Any:
        return {"Items": [item.attributes for _, item in sorted(self.table.items())]}

    def update_item(self, **arguments: Any) -> Any:
        try:
            self.table, answer = dynamodb.update(self.table, arguments)
        except dynamodb.ConditionFailedError as error:
            seen: dict[str, Any] = {"Item": error.seen} if error.seen else {}
            raise FakeAwsError("ConditionalCheckFailedException", **seen) from None
        return answer

    def transact_write_items(self, **arguments: Any) -> Any:
        try:
            self.table = dynamodb.write(self.table, arguments["TransactItems"])
        except dynamodb.ConditionFailedError:
            reasons = [{"Code": "ConditionalCheckFailed"}]
            raise FakeAwsError(
                "TransactionCanceledException", CancellationReasons=reasons
            ) from None
        return {}

    def put_item(self, **arguments: Any) -> Any:
        self.table = dynamodb.write(self.table, [{"Put": arguments}])
        return {}

    def delete_item(self, **arguments: Any) -> Any:
        self.table = dynamodb.write(self.table, [{"Delete": arguments}])
        return {}


class FakeAws:
    """The services that the relay uses; `reset` empties them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        self.dynamodb, self.s3, self.sqs = FakeDynamoDB(), FakeS3(), FakeSqs()
        self.sns = FakeSns(self.sqs, TOPIC, QUEUES["events"])

    def client(self, service: str) -> Any:
        """Return a boto3 client for one of the services, with event hooks of its own."""
        opened = _opened(service)
        client: Any = object.__new__(type(opened))
        vars(client).update(vars(opened), meta=copy(opened.meta))
        client.meta.events = copy(opened.meta.events)

        def call(operation: str, parameters: Mapping[str, Any]) -> Any:
            model = client.meta.service_model.operation_model(operation)
            context = {"client_region": REGION, "client_config": client.meta.config}
            arguments = client._emit_api_params(parameters, model, context)  # noqa: SLF001 - botocore's hooks
            validate_parameters(arguments, model.input_shape)
            handler = getattr(getattr(self, service), _method_name(operation))
            name = f"{service}.{operation}"
            try:
                _answer_from_hooks(client, name, arguments)
                with self._lock:
                    return handler(**arguments)
            except FakeAwsError as error:
                client.meta.events.emit(f"after-call.{name}", parsed=error.response)
                code = error.response["Error"]["Code"]
                raise client.exceptions.from_code(code)(error.response, operation) from None

        client._make_api_call = call  # noqa: SLF001 - the one method that every API call goes through
        return client


@cache
def _opened(service: str) -> Any:
    """Open a client, once for all accounts: it takes longer than many a test."""
    open_client: Any = boto3.client
    return open_client(
        service, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none"
    )


def _answer_from_hooks(client: Any, name: str, arguments: Mapping[str, Any]) -> None:
    """Let botocore's `before-send` hooks answer instead of the service."""
    path = "/".join(str(arguments[part]) for part in ("Bucket", "Key") if part in arguments)
    request = SimpleNamespace(url=f"https://aws.invalid/{path}", headers={}, body=b"")
    _, answer = client.meta.events.emit_until_response(f"before-send.{name}", request=request)
    if answer is not None:
        parts = re.findall(r"<(?:Code|Message)>(.*?)</", answer.raw.read().decode())
        raise FakeAwsError(*parts, status=answer.status_code)


@cache
def _method_name(operation: str) -> str:
    return xform_name(operation)
