"""DynamoDB as a value: what a call answers, and what the table is after it.

It knows the expressions that functions/adapters/table.py writes, and refuses others. test_conformance.py holds it
against moto, call by call.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import Any

import msgspec

AttributeValues = dict[str, Any]
"""Attributes as they are on the wire: ``{"status": {"S": "WAITING"}}``."""
_IGNORED = ("expires", "last_error", "status_digest")
"""Attributes that nothing is decided by, but whether status.json is written once more."""


class Item:
    """One item; never changed once it is made."""

    def __init__(self, attributes: AttributeValues) -> None:
        self.attributes = attributes

    @cached_property
    def comparison_key(self) -> str:
        """What tells it from others, for comparing states."""
        # Poll's own item counts its polls, and nobody looks.
        ignored = {*_IGNORED, "tries", "ended_at"} if self.get("item") == "poll" else _IGNORED
        compared = {k: v for k, v in sorted(self.attributes.items()) if k not in ignored}
        return msgspec.json.encode(compared).decode()

    def get(self, name: str) -> str | None:
        value = self.attributes.get(name)
        return None if value is None else str(next(iter(value.values())))


Table = dict[tuple[str, str], Item]


class ConditionFailedError(Exception):
    """A condition does not hold; `seen` is the item as it is."""

    def __init__(self, seen: AttributeValues) -> None:
        super().__init__("a condition does not hold")
        self.seen = seen


def get(table: Table, arguments: Mapping[str, Any]) -> AttributeValues:
    item = table.get(_key(arguments["Key"]))
    return {"Item": item.attributes} if item else {}


def query(table: Table, arguments: Mapping[str, Any]) -> list[AttributeValues]:
    """Answer a query, in the order of the sort key."""
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
    return [table[key].attributes for key in sorted(k for k in table if low <= k < high)]


def _key_range(condition: str, values: AttributeValues) -> tuple[tuple[str, str], tuple[str, str]]:
    """Read the range of keys that a condition names; the end is not in it."""
    if match := re.fullmatch(r"job = (:\w+) AND #item BETWEEN (:\w+) AND (:\w+)", condition):
        job, low, high = (values[name]["S"] for name in match.groups())
        return (job, low), (job, high + "\0")
    if match := re.fullmatch(r"job = (:\w+) AND begins_with\(#item, (:\w+)\)", condition):
        job, prefix = (values[name]["S"] for name in match.groups())
        return (job, prefix), (job, prefix + "\U0010ffff")
    raise NotImplementedError(condition)


MAX_ITEM = 400 * 1024
MAX_WRITES = 100
"""https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html."""


def write(table: Table, writes: list[dict[str, Any]]) -> Table:
    """Do all the writes.

    Raises:
        RefusedError: one of the conditions does not hold, and nothing is done.
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
    """Read a condition: terms that must all hold, each of them alternatives."""
    terms = expression.split(" AND ")  # there is none within parentheses
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
    """Update one item, and give it as it is then."""
    key = _key(arguments["Key"])
    after = write(table, [{"Update": arguments}])
    return after, {"Attributes": after[key].attributes}
