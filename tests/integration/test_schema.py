"""A deploy during a job: items of another schema version are processed, and kept unchanged."""

from typing import Any

import pytest

from tests.harness import TABLE, Harness, make_row

KEY = "in/march.jsonl"
ADDED_LATER = frozenset({"first_sent_at"})
"""Attributes that were added later: items of an older version lack them."""


def rewrite(relay: Harness, *, schema: str, without: frozenset[str], added: dict[str, Any]) -> int:
    """Rewrite the table as if another version's functions had written it."""
    items = relay.dynamodb.scan(TableName=TABLE)["Items"]
    for item in items:
        attributes = {name: value for name, value in item.items() if name not in without}
        relay.dynamodb.put_item(
            TableName=TABLE, Item=attributes | added | {"schema": {"N": schema}}
        )
    return len(items)


@pytest.mark.parametrize(
    ("schema", "without", "added"),
    [
        ("0", ADDED_LATER, {}),
        ("2", frozenset[str](), {"invented_later": {"M": {"a": {"S": "b"}}}}),
    ],
    ids=["older", "newer"],
)
def test_a_job_continues_with_items_of_another_schema_version(
    relay: Harness, schema: str, without: frozenset[str], added: dict[str, Any]
) -> None:
    relay.deploy(requests_per_batch=2)
    body = b"\n".join(
        make_row(n, "[fate:expired] march" if n == 2 else "march") for n in range(1, 6)
    )
    relay.upload(KEY, body + b'\n{"custom_id": "row-6"}')
    rewritten = 0
    for _ in range(12):
        rewritten += rewrite(relay, schema=schema, without=without, added=added)
        relay.tick()
    relay.finish()

    assert rewritten > 20
    assert [line["result"]["type"] for line in relay.lines(KEY)] == ["succeeded"] * 5 + [
        "rejected"
    ]
    assert sorted(relay.simulator.accepted_params().values()) == [1, 1, 1, 1, 2]
    kept_items = [
        item for item in relay.dynamodb.scan(TableName=TABLE)["Items"] if "attempt" in item
    ]
    assert all(
        added.items() <= item.items() for item in kept_items if item["attempt"] == {"N": "1"}
    )
