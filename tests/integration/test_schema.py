"""A deploy in the middle of a job: what another version's functions wrote is worked on, and nothing of theirs is lost."""

from typing import Any

import pytest

from tests.harness import TABLE, Harness, request

KEY = "in/march.jsonl"
YOUNG = frozenset({"first_sent_at"})
"""Attributes that came after the first functions: theirs lack them."""


def rewrite(relay: Harness, *, schema: str, without: frozenset[str], more: dict[str, Any]) -> int:
    """Make everything in the table look as if another version's functions had written it."""
    found = relay.dynamodb.scan(TableName=TABLE)["Items"]
    for item in found:
        kept = {name: value for name, value in item.items() if name not in without}
        relay.dynamodb.put_item(TableName=TABLE, Item=kept | more | {"schema": {"N": schema}})
    return len(found)


@pytest.mark.parametrize(
    ("schema", "without", "more"),
    [("0", YOUNG, {}), ("2", frozenset[str](), {"invented_later": {"M": {"a": {"S": "b"}}}})],
    ids=["older", "newer"],
)
def test_a_job_goes_on_over_items_of_another_schema_version(
    relay: Harness, schema: str, without: frozenset[str], more: dict[str, Any]
) -> None:
    relay.deploy(requests_per_batch=2)
    body = b"\n".join(
        request(n, "[fate:expired] march" if n == 2 else "march") for n in range(1, 6)
    )
    relay.upload(KEY, body + b'\n{"custom_id": "row-6"}')
    rewritten = 0
    for _ in range(12):
        rewritten += rewrite(relay, schema=schema, without=without, more=more)
        relay.tick()
    relay.finish()

    assert rewritten > 20
    assert [line["result"]["type"] for line in relay.lines(KEY)] == ["succeeded"] * 5 + [
        "rejected"
    ]
    assert sorted(relay.simulator.accepted_params().values()) == [1, 1, 1, 1, 2]
    kept = [item for item in relay.dynamodb.scan(TableName=TABLE)["Items"] if "attempt" in item]
    assert all(more.items() <= item.items() for item in kept if item["attempt"] == {"N": "1"})
