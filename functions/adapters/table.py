"""The table in DynamoDB's words: reads, and writes that are made first and then done all together or not at all."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

import boto3
import msgspec
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from functions.adapters.clients import PATIENT
from functions.model import timestamps

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

Conditions = Mapping[str, Any]
"""What must hold for a write: attribute, value; None for an attribute that must not be there, `LessThan` for a lesser one."""


class LessThan(msgspec.Struct, frozen=True):
    """In a `Conditions`: the attribute is not there, or less than this."""

    value: str


class Lease(msgspec.Struct, frozen=True):
    """Who owns an item, from when, and until when."""

    token: str
    now: str
    until: str

    @classmethod
    def begin(cls, now: datetime, seconds: float, token: str) -> "Lease":
        """Begin a lease of so many seconds."""
        return cls(token, timestamps.text(now), timestamps.after(now, seconds))


_LEASE_IS_FREE = "(attribute_not_exists(#lease) OR #lease < :now)"
_WAITS_FOR_STEP = (
    " AND #next_step = :next_step AND (attribute_not_exists(#not_before) OR #not_before <= :now)"
)
_CONFLICT_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Two transactions on one item at once: DynamoDB refuses one, and it is for us to repeat it."""


class Table:
    """One table, with a partition key `job` and a sort key `item`."""

    def __init__(self, name: str, client: "DynamoDBClient | None" = None) -> None:
        self._name = name
        self._dynamodb: DynamoDBClient = client or boto3.client("dynamodb", config=PATIENT)

    def get(self, job: str, item: str) -> dict[str, Any] | None:
        """Read an item as it is now; None if there is none."""
        answer = self._dynamodb.get_item(
            TableName=self._name, Key=serialize({"job": job, "item": item}), ConsistentRead=True
        )
        return deserialize(answer["Item"]) if "Item" in answer else None

    def query(
        self,
        condition: str,
        values: Conditions,
        index: str | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Read the items of one partition, page by page; in `condition`, `#item` and `#open` stand for the keys.

        A page is a megabyte, which takes ten in memory, unless its items are limited.
        """
        names = {name: name[1:] for name in ("#item", "#open") if name in condition}
        where: dict[str, Any] = {"IndexName": index} if index else {"ConsistentRead": True}
        if names:
            where["ExpressionAttributeNames"] = names
        if limit:
            where["Limit"] = limit
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=serialize(values),
            **where,
        )
        for page in pages:
            yield from map(deserialize, page["Items"])

    def acquire(
        self, job: str, item: str, lease: Lease, next_step: str | None = None
    ) -> dict[str, Any] | None:
        """Make a token the owner of an item, and count the try, if no other lease holds.

        Args:
            job: the item's partition key.
            item: its sort key.
            lease: whose it is from now on, and how long.
            next_step: if given, the item must wait for this step, and no longer for a time.

        Returns:
            The item as it is now, also where only the SDK's repeat of this very write was refused; None if the
            condition does not hold.
        """
        values = {":token": lease.token, ":until": lease.until, ":now": lease.now}
        waiting: Conditions = {} if next_step is None else {":next_step": next_step}
        try:
            answer = _retry_on_conflict(
                self._dynamodb.update_item,
                self._dynamodb.exceptions.TransactionConflictException,
                TableName=self._name,
                Key=serialize({"job": job, "item": item}),
                UpdateExpression="SET #owner = :token, #lease = :until,"
                " #tries = if_not_exists(#tries, :zero) + :one,"
                " #first_tried_at = if_not_exists(#first_tried_at, :now)",
                ConditionExpression=f"{_LEASE_IS_FREE}{_WAITS_FOR_STEP if waiting else ''}",
                ExpressionAttributeNames=_named("owner", "lease", "tries", "first_tried_at")
                | (_named("next_step", "not_before") if waiting else {}),
                ExpressionAttributeValues=serialize({**values, **waiting, ":zero": 0, ":one": 1}),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as error:
            seen = deserialize(cast("dict[str, Any]", error.response.get("Item", {})))
            return seen if seen.get("owner") == lease.token else None
        return deserialize(answer["Attributes"])

    def count(
        self, job: str, item: str, changes: Conditions, add: Mapping[str, int]
    ) -> dict[str, Any]:
        """Add to counters of an item, which is created if need be, and set some of its attributes.

        Returns:
            The item as it is now.
        """
        answer = _retry_on_conflict(
            self._dynamodb.update_item,
            self._dynamodb.exceptions.TransactionConflictException,
            TableName=self._name,
            Key=serialize({"job": job, "item": item}),
            ReturnValues="ALL_NEW",
            **_expressions(changes, {}, add),
        )
        return deserialize(answer["Attributes"])

    # -- writes, to be done together

    def create(self, item: object) -> "TransactWriteItemTypeDef":
        """Create an item, which must not be there yet."""
        return self._put(item, {"ConditionExpression": "attribute_not_exists(job)"})

    def put(self, item: object, expected: Conditions | None = None) -> "TransactWriteItemTypeDef":
        """Put an item in the place of the one that is there, if there is any and this holds of it."""
        return self._put(item, _condition(expected or {}))

    def _put(self, item: object, condition: dict[str, Any]) -> "TransactWriteItemTypeDef":
        put = {"TableName": self._name, "Item": serialize(msgspec.to_builtins(item)), **condition}
        return cast("TransactWriteItemTypeDef", {"Put": put})

    def update(
        self,
        job: str,
        item: str,
        changes: Conditions,
        expected: Conditions,
        increments: Mapping[str, int] | None = None,
    ) -> "TransactWriteItemTypeDef":
        """Change an item: what to set (None removes), what must hold, what to add to counters."""
        update = self._at(job, item) | _expressions(changes, expected, increments or {})
        return cast("TransactWriteItemTypeDef", {"Update": update})

    def add(self, job: str, item: str, counters: Mapping[str, int]) -> "TransactWriteItemTypeDef":
        """Add to counters of an item that is there."""
        update = self._at(job, item) | _expressions({}, {}, counters)
        update["ConditionExpression"] = "attribute_exists(job)"
        return cast("TransactWriteItemTypeDef", {"Update": update})

    def delete(self, job: str, item: str, expected: Conditions) -> "TransactWriteItemTypeDef":
        """Delete an item, if this holds of it."""
        delete = self._at(job, item) | _condition(expected)
        return cast("TransactWriteItemTypeDef", {"Delete": delete})

    def _at(self, job: str, item: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": serialize({"job": job, "item": item})}

    def write(self, *writes: "TransactWriteItemTypeDef") -> bool:
        """Do all the writes or none; False if what must hold does not.

        The SDK gives each call a token and repeats it under the same one, which DynamoDB recognizes: a repeat of a
        write that had succeeded succeeds again.
        """
        canceled = self._dynamodb.exceptions.TransactionCanceledException
        try:
            _retry_on_conflict(
                self._dynamodb.transact_write_items, canceled, TransactItems=list(writes)
            )
        except canceled as error:
            if _condition_failed(error):
                return False
            raise
        return True


def _retry_on_conflict[**P, R](
    call: Callable[P, R], conflict: type[ClientError], *args: P.args, **kwargs: P.kwargs
) -> R:
    """Call again after a moment, some times, while another transaction on the same item is at work."""
    for wait_s in _CONFLICT_WAITS_S:
        try:
            return call(*args, **kwargs)
        except conflict as error:
            if _condition_failed(error):
                raise
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - so that two do not meet again
    return call(*args, **kwargs)


def _condition_failed(error: ClientError) -> bool:
    """Whether a transaction was refused for its conditions, and not for another one beside it."""
    reasons: Any = error.response.get("CancellationReasons", [])
    return "ConditionalCheckFailed" in {reason.get("Code") for reason in reasons}


def _named(*names: str) -> dict[str, str]:
    return {f"#{name}": name for name in names}


def _expressions(
    changes: Conditions, expected: Conditions, increments: Mapping[str, int]
) -> dict[str, Any]:
    """Write the expressions of an update: what to set, to remove and to add, and what must hold."""
    sets = {name: value for name, value in changes.items() if value is not None}
    clauses = {
        "SET": [f"#{name} = :new_{name}" for name in sets],
        "REMOVE": [f"#{name}" for name in changes if name not in sets],
        "ADD": [f"#{name} :new_{name}" for name in increments],
    }
    update = " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)
    expressions = _condition(expected)
    values = serialize({f":new_{name}": value for name, value in {**sets, **increments}.items()})
    merged = {
        "ExpressionAttributeNames": expressions.get("ExpressionAttributeNames", {})
        | _named(*changes, *increments),
        "ExpressionAttributeValues": expressions.get("ExpressionAttributeValues", {}) | values,
    }
    filled = {name: parts for name, parts in merged.items() if parts}
    return {**expressions, **filled, "UpdateExpression": update}


def _condition(expected: Conditions) -> dict[str, Any]:
    """Write what must hold."""
    if not expected:
        return {}
    condition: dict[str, Any] = {
        "ConditionExpression": " AND ".join(
            _test(name, value) for name, value in expected.items()
        ),
        "ExpressionAttributeNames": _named(*expected),
    }
    values = {
        f":old_{name}": value.value if isinstance(value, LessThan) else value
        for name, value in expected.items()
        if value is not None
    }
    if values:
        condition["ExpressionAttributeValues"] = serialize(values)
    return condition


def _test(name: str, value: object) -> str:
    """Write one test; items leave out what is at its default, so a missing number is 0."""
    if value is None:
        return f"attribute_not_exists(#{name})"
    if isinstance(value, LessThan):
        return f"(attribute_not_exists(#{name}) OR #{name} < :old_{name})"
    equal = f"#{name} = :old_{name}"
    return f"({equal} OR attribute_not_exists(#{name}))" if value == 0 else equal


_serialize, _deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize


def serialize(item: Conditions) -> dict[str, Any]:
    """Write attributes as DynamoDB takes them: ``{"S": "…"}``."""
    return {name: _serialize(msgspec.to_builtins(value)) for name, value in item.items()}


def deserialize(item: Conditions) -> dict[str, Any]:
    """Read attributes as DynamoDB gives them; its numbers are whole here."""
    return {name: _whole_numbers(_deserialize(value)) for name, value in item.items()}


def _whole_numbers(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    return value
