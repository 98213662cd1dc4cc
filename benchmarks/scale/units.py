"""Compute the capacity units of each DynamoDB call from the items before and after it.

https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html: a write takes one unit for
each KB, and as many again in the index, or twice as many if the index key changes. A consistent read takes one unit
for each 4 KB, any other read half of that. Everything counts twice in a transaction. AWS does not say whether that
includes a transaction's writes to an index; here it does.
"""

import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

KIB = 1024
INDEX_KEY = ("open", "status_key")
Item = Mapping[str, Any]


class Units:
    """Adds up the units of the calls of one client.

    Args:
        client: the client that the relay uses.
        reader: another client, to read items.
        counts: receives ``dynamodb.writes`` in units and ``dynamodb.half_reads`` in half units.
    """

    def __init__(
        self, client: "DynamoDBClient", reader: "DynamoDBClient", counts: Counter[str]
    ) -> None:
        self._reader, self._counts = reader, counts
        self._items: dict[str, Item] = {}
        client.meta.events.register("before-call.dynamodb", self._before_call)
        client.meta.events.register("after-call.dynamodb", self._after_call)

    def _before_call(
        self, params: Mapping[str, Any], context: dict[str, Any], **_: object
    ) -> None:
        context["request"] = json.loads(params["body"])

    def _after_call(
        self, model: Any, parsed: Mapping[str, Any], context: dict[str, Any], **_: object  # noqa: ANN401 - botocore's
    ) -> None:  # fmt: skip
        request = context["request"]
        if model.name == "TransactWriteItems":
            self._counts["dynamodb.writes"] += 2 * sum(
                self._units_written(key) for key in _keys_of(request["TransactItems"])
            )
        elif model.name == "UpdateItem":
            self._counts["dynamodb.writes"] += self._units_written(
                (request["TableName"], request["Key"])
            )
        else:
            read = [parsed["Item"]] if "Item" in parsed else parsed.get("Items", [])
            blocks = units(sum(map(size_bytes, read)), 4 * KIB)
            self._counts["dynamodb.half_reads"] += blocks * (
                1 + request.get("ConsistentRead", False)
            )

    def _units_written(self, key_and_table: tuple[str, Item]) -> int:
        table, key = key_and_table
        name = json.dumps(key, sort_keys=True)
        before = self._items.get(name, {})
        after: Item = self._reader.get_item(TableName=table, Key=dict(key)).get("Item", {})
        self._items[name] = after
        return units(max(size_bytes(before), size_bytes(after))) + in_index(before, after)


def _keys_of(writes: list[dict[str, Any]]) -> list[tuple[str, Item]]:
    keys = []
    for write in writes:
        (action,) = write.values()
        key = action.get("Key") or {name: action["Item"][name] for name in ("job", "item")}
        keys.append((action["TableName"], key))
    return keys


def units(size: int, each: int = KIB) -> int:
    """Return the units of a size: at least one."""
    return max(1, -(-size // each))


def in_index(before: Item, after: Item) -> int:
    """Return the index units of a write; a changed key is a delete and a put."""
    old, new = ([item.get(name) for name in INDEX_KEY] for item in (before, after))
    was_indexed, is_indexed = None not in old, None not in new
    if was_indexed and is_indexed and old == new:
        return units(max(size_bytes(before), size_bytes(after)))
    return was_indexed * units(size_bytes(before)) + is_indexed * units(size_bytes(after))


def size_bytes(item: Item) -> int:
    """Return an item's size by DynamoDB's rules: names and values; 3 bytes per list or map, 1 per member."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    (kind, content), = value.items()  # fmt: skip
    if kind == "M":
        return 3 + len(content) + size_bytes(content)
    if kind == "L":
        return 3 + sum(1 + _value_bytes(member) for member in content)
    if kind == "N":
        return 1 + -(-len(content) // 2)
    return len(content.encode()) if kind == "S" else 1
