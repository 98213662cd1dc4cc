"""The adapter for DynamoDB: reads, and writes that are built first and then executed in one transaction."""

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
from functions.model.items.work_item import SCHEMA

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

Conditions = Mapping[str, Any]
"""Attribute values that a write requires. None requires a missing attribute, `LessThan` a smaller value."""


class LessThan(msgspec.Struct, frozen=True):
    """A condition that the attribute is missing or less than this value."""

    value: str


class Lease(msgspec.Struct, frozen=True):
    """The owner's token, and the times when the lease begins and ends."""

    token: str
    now: str
    until: str

    @classmethod
    def begin(cls, now: datetime, seconds: float, token: str) -> "Lease":
        """Build a lease of this many seconds."""
        return cls(token, timestamps.text(now), timestamps.after(now, seconds))


_LEASE_IS_FREE = "(attribute_not_exists(#lease) OR #lease < :now)"
_WAITS_FOR_STEP = (
    " AND #next_step = :next_step AND (attribute_not_exists(#not_before) OR #not_before <= :now)"
    " AND #schema <= :schema"
)
_CONFLICT_WAITS_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds before each retry of a conflict. DynamoDB rejects one of two concurrent transactions on an item."""


class Table:
    """One table with the partition key `job` and the sort key `item`."""

    def __init__(self, name: str, client: "DynamoDBClient | None" = None) -> None:
        self._name = name
        self._dynamodb: DynamoDBClient = client or boto3.client("dynamodb", config=PATIENT)

    def get(self, job: str, item: str) -> dict[str, Any] | None:
        """Read an item with strong consistency. Return None if it does not exist."""
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
        *,
        newest_first: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Read the items of one partition, page by page.

        Args:
            condition: the key condition; `#item` and `#open` name the keys.
            values: the values in the condition.
            index: the index to query; None for the table, with strong consistency.
            limit: items per page. By default a page is 1 MB, which takes 10 MB in memory.
            newest_first: whether to read sort keys in descending order.
        """
        names = {name: name[1:] for name in ("#item", "#open") if name in condition}
        options: dict[str, Any] = {"IndexName": index} if index else {"ConsistentRead": True}
        if names:
            options["ExpressionAttributeNames"] = names
        if limit:
            options["Limit"] = limit
        if newest_first:
            options["ScanIndexForward"] = False
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._name,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=serialize(values),
            **options,
        )
        for page in pages:
            yield from map(deserialize, page["Items"])

    def acquire(
        self, job: str, item: str, lease: Lease, next_step: str | None = None
    ) -> dict[str, Any] | None:
        """Record the lease's token as the item's owner and count the try, unless another lease is valid.

        Args:
            job: the item's partition key.
            item: its sort key.
            lease: the lease to record.
            next_step: if not None, the item must wait for this step, be past `not_before`, and have no newer schema.

        Returns:
            The item after the update; None if the condition does not hold. If the SDK repeated a write that had
            succeeded, the repeat is rejected, but the item is returned.
        """
        values = {":token": lease.token, ":until": lease.until, ":now": lease.now}
        waiting: Conditions = (
            {} if next_step is None else {":next_step": next_step, ":schema": SCHEMA}
        )
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
                ExpressionAttributeNames=_placeholders("owner", "lease", "tries", "first_tried_at")
                | (_placeholders("next_step", "not_before", "schema") if waiting else {}),
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
        """Add to counters of an item and set attributes. Create the item if it does not exist.

        Returns:
            The item after the update.
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

    def create(self, item: object) -> "TransactWriteItemTypeDef":
        """Build a write that creates an item, which must not exist."""
        return self._put(item, {"ConditionExpression": "attribute_not_exists(job)"})

    def put(self, item: object, expected: Conditions | None = None) -> "TransactWriteItemTypeDef":
        """Build a write that creates or replaces an item, if the conditions hold."""
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
        """Build a write that changes an item.

        Args:
            job: the item's partition key.
            item: its sort key.
            changes: the attributes to set; None removes one.
            expected: the conditions.
            increments: the amounts to add to counters.
        """
        update = self._address(job, item) | _expressions(changes, expected, increments or {})
        return cast("TransactWriteItemTypeDef", {"Update": update})

    def add(
        self,
        job: str,
        item: str,
        counters: Mapping[str, int],
        expected: Conditions | None = None,
    ) -> "TransactWriteItemTypeDef":
        """Build a write that adds to counters of an existing item, if the conditions hold."""
        update = self._address(job, item) | _expressions({}, expected or {}, counters)
        update.setdefault("ConditionExpression", "attribute_exists(job)")
        return cast("TransactWriteItemTypeDef", {"Update": update})

    def delete(self, job: str, item: str, expected: Conditions) -> "TransactWriteItemTypeDef":
        """Build a write that deletes an item, if the conditions hold."""
        delete = self._address(job, item) | _condition(expected)
        return cast("TransactWriteItemTypeDef", {"Delete": delete})

    def _address(self, job: str, item: str) -> dict[str, Any]:
        return {"TableName": self._name, "Key": serialize({"job": job, "item": item})}

    def write(self, *writes: "TransactWriteItemTypeDef") -> bool:
        """Execute all writes in one transaction. Return False, without any change, if a condition fails.

        The SDK retries with the same client token. DynamoDB recognizes it, so a repeated success succeeds again.
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
    """Call the function, and retry a few times while it conflicts with another transaction."""
    for wait_s in _CONFLICT_WAITS_S:
        try:
            return call(*args, **kwargs)
        except conflict as error:
            if _condition_failed(error):
                raise
            time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, so that the two do not conflict again
    return call(*args, **kwargs)


def _condition_failed(error: ClientError) -> bool:
    """Return whether a transaction failed because of its conditions, not because of a conflict."""
    reasons: Any = error.response.get("CancellationReasons", [])
    return "ConditionalCheckFailed" in {reason.get("Code") for reason in reasons}


def _placeholders(*names: str) -> dict[str, str]:
    return {f"#{name}": name for name in names}


def _expressions(
    changes: Conditions, expected: Conditions, increments: Mapping[str, int]
) -> dict[str, Any]:
    """Build the expressions of an update."""
    sets = {name: value for name, value in changes.items() if value is not None}
    clauses = {
        "SET": [f"#{name} = :new_{name}" for name in sets],
        "REMOVE": [f"#{name}" for name in changes if name not in sets],
        "ADD": [f"#{name} :new_{name}" for name in increments],
    }
    update = " ".join(f"{verb} {', '.join(terms)}" for verb, terms in clauses.items() if terms)
    expressions = _condition(expected)
    values = serialize({f":new_{name}": value for name, value in {**sets, **increments}.items()})
    merged = {
        "ExpressionAttributeNames": expressions.get("ExpressionAttributeNames", {})
        | _placeholders(*changes, *increments),
        "ExpressionAttributeValues": expressions.get("ExpressionAttributeValues", {}) | values,
    }
    filled = {name: terms for name, terms in merged.items() if terms}
    return {**expressions, **filled, "UpdateExpression": update}


def _condition(expected: Conditions) -> dict[str, Any]:
    """Build the condition expression, its names and its values."""
    if not expected:
        return {}
    condition: dict[str, Any] = {
        "ConditionExpression": " AND ".join(
            _comparison(name, value) for name, value in expected.items()
        ),
        "ExpressionAttributeNames": _placeholders(*expected),
    }
    values = {
        f":old_{name}": value.value if isinstance(value, LessThan) else value
        for name, value in expected.items()
        if value is not None
    }
    if values:
        condition["ExpressionAttributeValues"] = serialize(values)
    return condition


def _comparison(name: str, value: object) -> str:
    """Build the test of one attribute. Items omit defaults, so a missing number counts as 0."""
    if value is None:
        return f"attribute_not_exists(#{name})"
    if isinstance(value, LessThan):
        return f"(attribute_not_exists(#{name}) OR #{name} < :old_{name})"
    equal = f"#{name} = :old_{name}"
    return f"({equal} OR attribute_not_exists(#{name}))" if value == 0 else equal


_serialize, _deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize


def serialize(item: Conditions) -> dict[str, Any]:
    """Convert attributes to DynamoDB's format: ``{"S": "…"}``."""
    return {name: _serialize(msgspec.to_builtins(value)) for name, value in item.items()}


def deserialize(item: Conditions) -> dict[str, Any]:
    """Convert attributes from DynamoDB's format. All numbers become int."""
    return {name: _whole_numbers(_deserialize(value)) for name, value in item.items()}


def _whole_numbers(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value)
    if isinstance(value, dict):
        return {name: _whole_numbers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(member) for member in value]
    return value
