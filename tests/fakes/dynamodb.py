"""DynamoDB as pure functions: the answer to a call, and the table after it.

Only the expressions that functions/adapters/table.py writes are supported. `test_conformance.py`
compares each answer with moto's.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import msgspec

AttributeValues = dict[str, Any]
"""Attribute values in wire format: ``{"status": {"S": "WAITING"}}``."""
_IGNORED = ("expires", "last_error", "status_digest")
"""Attributes that no decision depends on, except whether status.json is rewritten."""


class Item:
    """One immutable item."""

    def __init__(self, attributes: AttributeValues) -> None:
        self.attributes = attributes

    @cached_property
    def comparison_key(self) -> str:
        """Return a string that is equal for items that behave alike."""
        # Poll's own item counts and dates its polls, which nothing depends on but requested polls.
        of_poll = (
            {"tries", "ended_at", "listed_at", "jobs_file_write", "silent_since"}
            if self.get("item") == "poll"
            else set()
        )
        ignored = {*_IGNORED, *of_poll}
        compared = {k: v for k, v in sorted(self.attributes.items()) if k not in ignored}
        return msgspec.json.encode(compared).decode()

    def get(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return None if value is None else str(next(iter(value.values())))


Table = dict[tuple[str, str], Item]


class ConditionFailedError(Exception):
    """A condition is false; `seen` is the stored item."""

    def __init__(self, seen: AttributeValues) -> None:
        super().__init__("a condition is false")
        self.seen = seen


def get(table: Table, arguments: Mapping[str, Any]) -> AttributeValues:
    item = table.get(_key(arguments["Key"]))
    return {"Item": item.attributes} if item else {}


def query(table: Table, arguments: Mapping[str, Any]) -> list[AttributeValues]:
    """Return the items of a query, ordered by the sort key. All are one page, whatever its limit."""
    values = arguments["ExpressionAttributeValues"]
    condition = arguments["KeyConditionExpression"]
    if arguments.get("IndexName"):
        prefix = ""
        if condition == "#open = :open AND begins_with(status_key, :status)":
            prefix = values[":status"]["S"]
        elif condition != "#open = :open":
            raise NotImplementedError(condition)
        open_items = [
            item.attributes
            for item in table.values()
            if "open" in item.attributes and item.attributes["status_key"]["S"].startswith(prefix)
        ]
        return sorted(open_items, key=lambda attributes: str(attributes["status_key"]["S"]))
    low, high = _key_range(condition, values)
    keys = sorted(
        (key for key in table if low <= key < high),
        reverse=not arguments.get("ScanIndexForward", True),
    )
    return [table[key].attributes for key in keys]


def _key_range(condition: str, values: AttributeValues) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the keys that a condition selects: the first, and the one after the last."""
    if match := re.fullmatch(r"job = (:\w+) AND #item BETWEEN (:\w+) AND (:\w+)", condition):
        job, low, high = (values[name]["S"] for name in match.groups())
        return (job, low), (job, high + "\0")
    if match := re.fullmatch(r"job = (:\w+) AND begins_with\(#item, (:\w+)\)", condition):
        job, prefix = (values[name]["S"] for name in match.groups())
        return (job, prefix), (job, prefix + "\U0010ffff")
    if match := re.fullmatch(r"job = (:\w+)", condition):
        job = values[match[1]]["S"]
        return (job, ""), (job, "\U0010ffff")
    raise NotImplementedError(condition)


MAX_ITEM = 400 * 1024
MAX_WRITES = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html."""


def write(table: Table, writes: list[dict[str, Any]]) -> Table:
    """Apply all the writes, or none.

    Raises:
        ConditionFailedError: One of the conditions is false.
    """
    assert 1 <= len(writes) <= MAX_WRITES
    after = dict(table)
    done: set[tuple[str, str]] = set()
    for write_request in writes:
        ((verb, arguments),) = write_request.items()
        key = _key(arguments.get("Key") or arguments["Item"])
        if key in done:
            message = f"two writes to {key} in one transaction"
            raise AssertionError(message)
        done.add(key)
        before = table[key].attributes if key in table else {}
        if not _condition_holds(arguments, before):
            raise ConditionFailedError(before)
        _apply_write(after, key, verb, arguments)
    return after


def _apply_write(
    table: Table, key: tuple[str, str], verb: str, arguments: Mapping[str, Any]
) -> None:
    if verb == "Delete":
        table.pop(key, None)
    elif verb == "Put":
        table[key] = Item(dict(arguments["Item"]))
    elif verb == "Update":
        before = table[key].attributes if key in table else dict(arguments["Key"])
        table[key] = Item(_apply_update(arguments, before))
    assert key not in table or len(str(table[key].attributes)) < MAX_ITEM


def _key(key: AttributeValues) -> tuple[str, str]:
    return key["job"]["S"], key["item"]["S"]


Condition = Callable[[AttributeValues, Mapping[str, str], AttributeValues], bool]


def _condition_holds(arguments: Mapping[str, Any], item: AttributeValues) -> bool:
    expression = arguments.get("ConditionExpression")
    if expression is None:
        return True
    names = arguments.get("ExpressionAttributeNames", {})
    values = arguments.get("ExpressionAttributeValues", {})
    return all(
        any(test(item, names, values) for test in terms) for terms in _parse_condition(expression)
    )


@cache
def _parse_condition(expression: str) -> list[list[Condition]]:
    """Parse a condition into terms that must all hold; each is a list of alternatives."""
    terms = expression.split(" AND ")  # parentheses never contain one
    return [
        [_parse_comparison(comparison) for comparison in _without_parentheses(term).split(" OR ")]
        for term in terms
    ]


def _without_parentheses(term: str) -> str:
    return term[1:-1] if term.startswith("(") else term


def _parse_comparison(comparison: str) -> Condition:
    if match := re.fullmatch(r"attribute_(not_)?exists\((#?\w+)\)", comparison):
        wanted, name = match[1] is None, match[2]
        return lambda item, names, _: (names.get(name, name) in item) is wanted
    if match := re.fullmatch(r"(#\w+) (=|<|<=) (:\w+)", comparison):
        left, operator, right = match[1], match[2], match[3]
        return lambda item, names, values: _compare(item.get(names[left]), operator, values[right])
    raise NotImplementedError(comparison)


def _compare(left: AttributeValues | None, operator: str, right: AttributeValues) -> bool:
    if left is None or left.keys() != right.keys():
        return False
    if operator == "=":
        return left == right
    ((kind, a), (_, b)) = (*left.items(), *right.items())
    low, high = (int(a), int(b)) if kind == "N" else (a, b)
    return bool(low < high or (operator == "<=" and low == high))


def _apply_update(arguments: Mapping[str, Any], before: AttributeValues) -> AttributeValues:
    names = arguments.get("ExpressionAttributeNames", {})
    values = arguments.get("ExpressionAttributeValues", {})
    after = dict(before)
    for verb, target, value, default in _parse_update(arguments["UpdateExpression"]):
        name = names.get(target, target)
        if verb == "SET":
            after[name] = values[value]
        elif verb == "DEFAULT":
            after.setdefault(name, values[value])
        elif verb == "REMOVE":
            after.pop(name, None)
        else:
            old = before.get(name, values[default] if default else {"N": "0"})
            after[name] = {"N": str(int(old["N"]) + int(values[value]["N"]))}
    return after


@cache
def _parse_update(expression: str) -> list[tuple[str, str, str, str | None]]:
    increment = r"(#\w+) = if_not_exists\(\1, (:\w+)\) \+ (:\w+)"
    changes: list[tuple[str, str, str, str | None]] = [
        ("ADD", match[1], match[3], match[2]) for match in re.finditer(increment, expression)
    ]
    without_increments = re.sub(r",? ?" + increment, "", expression)
    default = r",? ?(#\w+) = if_not_exists\(\1, (:\w+)\)"
    changes += [
        ("DEFAULT", match[1], match[2], None) for match in re.finditer(default, without_increments)
    ]
    parts = re.split(r"(?:^| )(SET|REMOVE|ADD) ", re.sub(default, "", without_increments))
    for verb, clause in zip(parts[1::2], parts[2::2], strict=True):
        for assignment in clause.split(", "):
            target, *rest = re.split(r" = | ", assignment)
            changes.append((verb, target, rest[0] if rest else "", None))
    return changes


def update(table: Table, arguments: Mapping[str, Any]) -> tuple[Table, AttributeValues]:
    """Update one item; return the new table, and the item as DynamoDB's answer has it."""
    key = _key(arguments["Key"])
    after = write(table, [{"Update": arguments}])
    return after, {"Attributes": after[key].attributes}
