"""DynamoDB in memory, as far as `functions.adapters.table` speaks to it: whole items, conditions, transactions."""

import operator
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Self

from botocore.exceptions import ClientError

from functions.adapters.table import deserialize, serialize

_TEST = re.compile(
    r"attribute_(?P<absent>not_)?exists\((?P<named>[#\w]+)\)"
    r"|begins_with\((?P<whole>[#\w]+), (?P<front>:\w+)\)"
    r"|(?P<inside>[#\w]+) BETWEEN (?P<low>:\w+) AND (?P<high>:\w+)"
    r"|(?P<left>[#\w]+) (?P<sign>=|<=|<) (?P<right>:\w+)"
)
_SIGNS = {"=": operator.eq, "<": operator.lt, "<=": operator.le}
_BETWEEN = re.compile(r" AND (?!:)")
"""Joins two tests; the AND of a BETWEEN has a value behind it."""
type Items = dict[tuple[str, str], dict[str, Any]]


class ConditionalCheckFailedException(ClientError):  # noqa: N818 - boto3's name
    def __init__(self) -> None:
        super().__init__({"Error": {"Code": "ConditionalCheckFailed", "Message": ""}}, "Update")


class TransactionCanceledException(ClientError):  # noqa: N818
    def __init__(self) -> None:
        response: Any = {
            "Error": {"Code": "TransactionCanceled"},
            "CancellationReasons": [{"Code": "ConditionalCheckFailed"}],
        }
        super().__init__(response, "TransactWriteItems")


class TransactionConflictException(ClientError):  # noqa: N818
    """Never here: nothing is at work beside."""


class _Exceptions:
    ConditionalCheckFailedException = ConditionalCheckFailedException
    TransactionCanceledException = TransactionCanceledException
    TransactionConflictException = TransactionConflictException


@dataclass
class MemoryTable:
    """One table; its items are kept as they are read back."""

    items: Items = field(default_factory=dict)
    exceptions: type[_Exceptions] = _Exceptions

    def get_item(self, *, Key: Any, **_: object) -> dict[str, Any]:  # noqa: N803 - boto3's names
        found = self.items.get(_place(Key))
        return {"Item": serialize(found)} if found else {}

    def update_item(self, *, Key: Any, **given: Any) -> dict[str, Any]:  # noqa: N803
        place = _place(Key)
        found = dict(self.items.get(place, {"job": place[0], "item": place[1]}))
        if not _holds(self.items.get(place, {}), given):
            raise ConditionalCheckFailedException
        values = deserialize(given["ExpressionAttributeValues"])
        tries = found.get("tries", 0) + 1
        found |= {"owner": values[":token"], "lease": values[":until"], "tries": tries}
        found.setdefault("first_tried_at", values[":now"])
        self.items[place] = found
        return {"Attributes": serialize(found)}

    def transact_write_items(self, *, TransactItems: list[dict[str, Any]]) -> None:  # noqa: N803
        after = dict(self.items)
        for write in TransactItems:
            ((verb, one),) = write.items()
            place = _place(one["Item"] if verb == "Put" else one["Key"])
            if not _holds(self.items.get(place, {}), one):
                raise TransactionCanceledException
            if verb == "Delete":
                after.pop(place, None)
            else:
                after[place] = (
                    deserialize(one["Item"]) if verb == "Put" else _updated(place, after, one)
                )
        self.items = after

    def get_paginator(self, _operation: str) -> Self:
        return self

    def paginate(self, *, KeyConditionExpression: str, **given: Any) -> Iterator[Any]:  # noqa: N803
        asked = given | {"ConditionExpression": KeyConditionExpression}
        found = [self.items[place] for place in sorted(self.items)]
        kept = [item for item in found if _holds(item, asked)]
        if "IndexName" in given:
            kept.sort(key=lambda item: str(item["status_key"]))
        yield {"Items": [serialize(item) for item in kept]}


def _place(key: Mapping[str, Any]) -> tuple[str, str]:
    return key["job"]["S"], key["item"]["S"]


def _holds(item: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    values = deserialize(given.get("ExpressionAttributeValues", {}))
    tests = _parsed(given.get("ConditionExpression", ""))
    return all(any(_true(item, values, one) for one in either) for either in tests)


@cache
def _parsed(condition: str) -> list[list[dict[str, str | None]]]:
    """Give the tests of a condition: all of them, and of each any."""
    terms = _BETWEEN.split(condition) if condition else []
    return [[match.groupdict() for match in _TEST.finditer(term)] for term in terms]


def _true(item: Mapping[str, Any], values: Mapping[str, Any], test: dict[str, str | None]) -> bool:
    def of(part: str) -> Any:
        return item.get((test[part] or "").removeprefix("#"))

    if test["named"]:
        return (of("named") is None) == bool(test["absent"])
    if test["whole"]:
        return str(of("whole")).startswith(values[test["front"] or ""])
    if test["inside"]:
        return bool(values[test["low"] or ""] <= of("inside") <= values[test["high"] or ""])
    left, right = of("left"), values[test["right"] or ""]
    if left is None:
        return False
    return bool(_SIGNS[test["sign"] or ""](left, right))


def _updated(place: tuple[str, str], items: Items, given: dict[str, Any]) -> dict[str, Any]:
    item = {"job": place[0], "item": place[1]} | items.get(place, {})
    values = deserialize(given.get("ExpressionAttributeValues", {}))
    for clause in re.split(r" (?=SET |REMOVE |ADD )", given["UpdateExpression"]):
        verb, _, parts = clause.partition(" ")
        for part in parts.split(", "):
            name, _, value = part.replace(" = ", " ").partition(" ")
            name = name.removeprefix("#")
            if verb == "REMOVE":
                item.pop(name, None)
            elif verb == "ADD":
                item[name] = item.get(name, 0) + values[value]
            else:
                item[name] = values[value]
    return item
