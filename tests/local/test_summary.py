"""What the demo prints about a job at its end."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from local.cloud import Cloud
from local.environment import LocalEnvironment
from local.started_job import StartedJob
from local.summary import FIRST_BATCH, exchanges, summary

JOB = StartedJob(file=Path("a.csv"), key="in/a.csv", id="3f9a", folder="results/in/a/3f9a")
ROWS = 1000


@pytest.fixture
def environment(cloud: Cloud) -> LocalEnvironment:
    name = f"relay-{uuid.uuid4().hex[:12]}"
    cloud.s3.create_bucket(Bucket=name)
    cloud.tables.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": "job", "AttributeType": "S"},
            {"AttributeName": "item", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "job", "KeyType": "HASH"},
            {"AttributeName": "item", "KeyType": "RANGE"},
        ],
    )
    return LocalEnvironment(
        kind="run",
        owner_pid=0,
        owner_started_at="",
        endpoint=cloud.endpoint,
        claude="simulator",
        outputs={"ResultsBucket": name, "TableName": name},
    )


def store_first_chunk(environment: LocalEnvironment, rows: int, distinct: int) -> None:
    """Store a chunk whose first rows have requests; the others of the chunk equal row 1."""
    requests, ledger = b"", b""
    for row in range(1, rows + 1):
        entry: list[Any] = [row, row, 0, 0, None, 0, 0, None, 1]
        if row <= distinct:
            question = {"messages": [{"role": "user", "content": f"question {row}"}]}
            params = json.dumps(question).encode()
            entry = [row, row, 0, 0, None, len(requests), len(params)]
            requests += params
        ledger += json.dumps(entry).encode() + b"\n"
    bucket = environment.outputs["ResultsBucket"]
    environment.cloud.s3.put_object(Bucket=bucket, Key="requests", Body=requests)
    environment.cloud.s3.put_object(Bucket=bucket, Key="ledger", Body=ledger)
    environment.cloud.tables.put_item(
        TableName=environment.outputs["TableName"],
        Item={
            "job": {"S": JOB.id},
            "item": {"S": FIRST_BATCH},
            "requests_key": {"S": "requests"},
            "ledger_key": {"S": "ledger"},
        },
    )


@pytest.mark.parametrize(
    ("rows_of_chunk", "distinct", "expected"),
    [
        pytest.param(ROWS, ROWS, [1, 500, 1000], id="every row has a request"),
        pytest.param(ROWS, 5, [1, 3, 5], id="most rows equal another"),
        pytest.param(10, 10, [1, 5, 10], id="most rows are in later chunks"),
    ],
)
def test_the_answers_shown_are_of_rows_whose_question_is_known(
    environment: LocalEnvironment,
    tmp_path: Path,
    rows_of_chunk: int,
    distinct: int,
    expected: list[int],
) -> None:
    store_first_chunk(environment, rows_of_chunk, distinct)
    message = {"content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn"}
    result = {"type": "succeeded", "message": message}
    lines = (
        json.dumps({"row": row, "custom_id": None, "result": result}, separators=(",", ":")) + "\n"
        for row in range(1, ROWS + 1)
    )
    (tmp_path / "results.jsonl").write_text("".join(lines))

    shown = exchanges(environment, JOB, tmp_path)

    assert [(each.row, each.question) for each in shown] == [
        (row, f"question {row}") for row in expected
    ]


def test_a_cost_below_a_cent_is_written_with_its_digits(
    environment: LocalEnvironment, tmp_path: Path
) -> None:
    manifest = {
        "cost_usd_known": 0.000037,
        "prices": {"problem": None},
        "errors": {},
        "format": {},
        "batches": [],
        "times": {"claimed_at": "2026-11-28T00:00:00Z", "ended_at": "2026-11-28T00:00:05Z"},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "results.jsonl").touch()

    assert "cost     $0.000037\n" in summary(environment, JOB, tmp_path)
