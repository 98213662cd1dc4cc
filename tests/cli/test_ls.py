"""`relay ls`, and how a job is named in all commands: of a stack whose real stages have run jobs."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec
import pytest

from functions.adapters.cost_ledger import CostLedger
from functions.adapters.table import Table, serialize
from tests.cli.conftest import KEY, CommandLine, deployment_of, finished, running
from tests.harness import Harness, open_moto_harness

if TYPE_CHECKING:
    from pathlib import Path


def add_ledger_entries(stack: Harness, count: int, day: date | None = None) -> None:
    """Add later entries, or those of a day, like that of a finished job to the ledger."""
    month = f"ledger/{stack.moment:%Y-%m}"
    [entry] = CostLedger(Table("relay", stack.dynamodb)).entries(month)
    for number in range(count):
        ended = f"{day or '9999'}T{number:02}"
        item = f"{ended}/job"
        added = msgspec.structs.replace(
            entry,
            job=f"ledger/{day:%Y-%m}" if day else month,
            item=item,
            of_job=item,
            label=f"job-{number}",
        )
        stack.dynamodb.put_item(TableName="relay", Item=serialize(msgspec.to_builtins(added)))


def test_ls_lists_running_jobs_before_ended_ones(stack: Harness, relay: CommandLine) -> None:
    ended = finished(stack)
    unfinished = running(stack, "team/april.jsonl")

    jobs = relay.json("ls")

    assert [(job["job"], job["status"], job["outcome"]) for job in jobs] == [
        (unfinished, "RUNNING", None),
        (ended, "DONE", "succeeded"),
    ]
    assert [job["job"] for job in relay.json("ls", "--running")] == [unfinished]
    table = relay("ls").stdout
    assert f"april-{unfinished[:8]}" in table
    assert "3 of 3" in table


def test_ls_reads_only_the_entries_that_it_lists(tmp_path: Path) -> None:
    read: list[int] = []
    with open_moto_harness(tmp_path) as stack:  # it has pages
        finished(stack)
        add_ledger_entries(stack, 50)
        stack.dynamodb.meta.events.register(
            "after-call.dynamodb.Query", lambda parsed, **_: read.append(len(parsed["Items"]))
        )

        listed = CommandLine(deployment_of(stack)).json("ls", "--last", "3")

    assert [job["name"] for job in listed] == ["job-49", "job-48", "job-47"]
    assert sum(read) == 3


def test_ls_goes_back_over_months(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)
    add_ledger_entries(stack, 1, date(date.today().year - 1, 12, 31))  # noqa: DTZ011 - as far back as a day may be

    assert [entry["name"] for entry in relay.json("ls")] == [f"march-{job[:8]}", "job-0"]


def test_a_job_that_advances_while_it_is_listed_is_listed_once(
    stack: Harness, relay: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status is a query. A job may be found by several."""
    running(stack)
    monkeypatch.setattr("cli.jobs.RUNNING", ("RUNNING", "RUNNING"))

    assert [entry["status"] for entry in relay.json("ls")] == ["RUNNING"]


def test_a_job_is_named_by_id_name_prefix_or_key(stack: Harness, relay: CommandLine) -> None:
    job = finished(stack)

    for name in (job, job[:6], f"march-{job[:8]}", KEY):
        assert relay.json("why", name)["job"] == job


def test_a_key_means_the_newest_of_its_jobs(stack: Harness, relay: CommandLine) -> None:
    finished(stack)
    stack.pass_time(60)
    second = running(stack)

    assert relay.json("why", KEY)["job"] == second


@pytest.mark.parametrize("name", ["ffff", "no/such.jsonl", "f" * 20])
def test_a_missing_job_is_reported_in_a_sentence(relay: CommandLine, name: str) -> None:
    result = relay("why", name, code=3)

    assert result.stderr.startswith(f"relay: there is no job {name} ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_job_of_a_newer_version_is_reported_in_one_sentence(
    stack: Harness, relay: CommandLine
) -> None:
    job = running(stack)
    key = {"job": {"S": job}, "item": {"S": "00001-1"}}
    item = stack.dynamodb.get_item(TableName="relay", Key=key)["Item"]
    stack.dynamodb.put_item(TableName="relay", Item=item | {"schema": {"N": "2"}})

    result = relay("diagram", job, code=1)

    assert "deploy that version again" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_prefix_of_several_jobs_names_them(stack: Harness, relay: CommandLine) -> None:
    job = running(stack)
    key = {"job": {"S": job}, "item": {"S": "#"}}
    item = stack.dynamodb.get_item(TableName="relay", Key=key)["Item"]
    other = job[:6] + "f" * 14
    stack.dynamodb.put_item(TableName="relay", Item=item | {"job": {"S": other}})

    result = relay("why", job[:5], code=2)

    assert job in result.stderr
    assert other in result.stderr
