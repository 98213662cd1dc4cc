"""Each reason why a job waits: when it holds, since when, until when, and what would change it."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from functions.model import timestamps
from functions.model.items.batch import Batch
from functions.model.items.job import Checkpoint, Job
from functions.model.items.priority import Share
from functions.model.records import Sending
from functions.model.waiting_reasons import REASONS, Obstacles, WaitingReason, waiting_reasons
from tests.unit.factories import AT, batch, job, pilot

NOW = timestamps.parse(AT)
GUIDE = Path(__file__).parents[2] / "docs" / "operate.md"
SCHEMA = Path(__file__).parents[2] / "docs" / "status.schema.json"


def at(seconds: float) -> str:
    return timestamps.after(NOW, seconds)


LATER, EARLIER = at(600), at(-600)
PLANNING: dict[str, Any] = {
    "status": "PLANNING",
    "status_key": f"PLANNING#{EARLIER}",
    "next_step": "plan",
}
FAILED: dict[str, Any] = {
    "tries": 3,
    "first_tried_at": EARLIER,
    "not_before": LATER,
    "last_error": "S3 is slow",
}


def sent(status: str, **fields: Any) -> Batch:
    fields = {"next_step": None, "created_at": EARLIER, "batch_id": "msgbatch_1"} | fields
    return batch(status=status, status_key=f"{status}#{EARLIER}", **fields)


def waiting(**fields: Any) -> Batch:
    return batch(status_key=f"WAITING#{EARLIER}", **fields)


def paused(reason: str) -> Obstacles:
    return Obstacles(sending=Sending(paused_reason=reason, paused_at=EARLIER, probe_at=LATER))


def passed_over(reason: str) -> Obstacles:
    until = {"day_budget": LATER, "month_budget": LATER}
    return Obstacles(not_admitted={reason: EARLIER}, until=until)


class Case(NamedTuple):
    """One situation with one reason, and a word of its sentence."""

    job: Job
    batches: list[Batch]
    message: str
    obstacles: Obstacles = Obstacles()
    since: str | None = EARLIER
    until: str | None = None


def held(reason: str, **fields: Any) -> Job:
    return job(**PLANNING, waiting_for=reason, waiting_since=EARLIER, not_before=LATER, **fields)


CASES = {
    "no_key": Case(job(), [waiting()], "no API key", paused("key_missing"), until=LATER),
    "paused": Case(job(), [waiting()], "spend limit", paused("spend_limit"), until=LATER),
    "throttled": Case(
        job(), [waiting()], "429", Obstacles(sending=Sending(not_before=LATER, limited_at=EARLIER)), until=LATER
    ),
    "template": Case(held("template"), [], "no template", until=LATER),
    "models": Case(held("models"), [], "no Claude model", until=LATER),
    "valid_options": Case(held("valid_options"), [], "cannot be used", until=LATER),
    "budget": Case(held("budget", held="estimate"), [waiting()], "more than its budget", until=LATER),
    "price": Case(held("price", held="estimate"), [waiting()], "no price", until=LATER),
    "go": Case(
        job(held="go", waiting_since=EARLIER, pilot=pilot()),
        [waiting(chunk=2)],
        "19 of 20 rows of the pilot succeeded with 120 input and 800 output tokens per row; "
        "the other 980 rows, for about $1.92, wait for a decision",
    ),
    "pilot": Case(
        job(held="pilot", pilot_rows=20), [sent("IN_PROGRESS", first_sent_at=EARLIER)], "first 20 rows"
    ),
    "estimate": Case(job(**PLANNING, held="estimate"), [waiting()], "read to its end"),
    "day_budget": Case(job(), [waiting()], "of the day", passed_over("day_budget"), until=LATER),
    "month_budget": Case(
        job(), [waiting()], "of the month", passed_over("month_budget"), until=LATER
    ),
    "warm_up": Case(job(), [waiting()], "first row of their shared prefix", passed_over("warm_up")),
    "share": Case(job(share=Share(folder="in")), [waiting()], "folder in", passed_over("share")),
    "room": Case(job(), [waiting()], "openBatches", passed_over("room")),
    "backoff": Case(job(), [waiting(not_before=LATER)], "refused", until=LATER),
    "plan_retry": Case(job(**PLANNING, **FAILED), [], "S3 is slow (tried 3 times)", until=LATER),
    "send_retry": Case(job(), [waiting(**FAILED)], "S3 is slow", until=LATER),
    "collect_retry": Case(
        job(), [sent("ENDED", next_step="collect", **FAILED)], "downloading", until=LATER
    ),
    "assemble_retry": Case(
        job(status="ASSEMBLING", next_step="assemble", **FAILED), [], "joining", until=LATER
    ),
    "unconfirmed": Case(job(), [sent("UNCONFIRMED")], "1 batch may exist"),
    "planning": Case(job(**PLANNING), [], "is being read"),
    "sending": Case(job(), [waiting()], "to be sent: 1 batch"),
    "answers": Case(
        job(),
        [sent("IN_PROGRESS"), sent("IN_PROGRESS", chunk=2)],
        "2 batches with 20 requests",
        until=at(-600 + 24 * 3600),
    ),
    "canceling": Case(
        job(canceled_at=AT), [sent("IN_PROGRESS")], "canceled", until=at(-600 + 24 * 3600)
    ),
    "collecting": Case(job(), [sent("ENDED", next_step="collect")], "downloaded"),
    "equal_rows": Case(
        job(), [sent("ENDED", next_step="collect", attempt=2, requests=0, batch_id=None)], "equal rows"
    ),
    "assembling": Case(
        job(status="ASSEMBLING", status_key=f"ASSEMBLING#{EARLIER}", next_step="assemble"), [], "joined"
    ),
}  # fmt: skip


def find(case: Case) -> dict[str, WaitingReason]:
    return {
        wait.reason: wait for wait in waiting_reasons(case.job, case.batches, case.obstacles, NOW)
    }


def test_each_reason_has_a_case() -> None:
    assert list(CASES) == list(REASONS)


@pytest.mark.parametrize("reason", CASES)
def test_a_job_says_why_it_waits(reason: str) -> None:
    case = CASES[reason]
    wait = find(case)[reason]

    assert case.message in wait.message
    assert (wait.since, wait.until) == (case.since, case.until)
    assert wait.resolution
    assert not re.search(r"\{\w+\}", wait.message + wait.resolution)


@pytest.mark.parametrize("reason", sorted(set(CASES) - {"pilot", "estimate", "go"}))
def test_each_situation_has_one_reason(reason: str) -> None:
    assert set(find(CASES[reason])) == {reason}


def test_a_job_that_is_done_waits_for_nothing() -> None:
    assert waiting_reasons(job(status="DONE"), [], paused("key_missing"), NOW) == []


def test_what_a_person_must_do_comes_first() -> None:
    batches = [sent("IN_PROGRESS"), waiting(chunk=2), sent("ENDED", chunk=3, **FAILED)]

    found = waiting_reasons(job(), batches, paused("spend_limit"), NOW)

    assert [wait.reason for wait in found] == ["paused", "answers"]


def test_ten_thousand_batches_give_few_and_short_reasons() -> None:
    failed = FAILED | {"last_error": "x" * 300}
    batches = [waiting(chunk=number, **failed) for number in range(5000)]
    batches += [sent("ENDED", chunk=n, next_step="collect", **failed) for n in range(5000)]

    found = waiting_reasons(
        job("k" * 900, checkpoint=Checkpoint()), batches, passed_over("room"), NOW
    )

    assert [wait.reason for wait in found] == ["room", "send_retry", "collect_retry"]
    assert all(len(wait.message) < 600 for wait in found)


def test_the_schema_lists_each_reason() -> None:
    waiting_schema = json.loads(SCHEMA.read_text("utf-8"))["properties"]["waiting"]["items"]

    assert waiting_schema["properties"]["reason"]["enum"] == list(REASONS)


def test_the_operators_guide_lists_each_reason() -> None:
    _, part = GUIDE.read_text("utf-8").split("\n## What a job waits for\n")
    cells = re.findall(r"^\| (`[^|]+) \|", part.partition("\n## ")[0], re.MULTILINE)

    assert sorted(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == sorted(
        REASONS
    )


def test_a_killed_step_has_a_sentence_without_an_error() -> None:
    killed = waiting(tries=2, first_tried_at=EARLIER)

    (wait,) = waiting_reasons(job(), [killed], Obstacles(), datetime.now(tz=NOW.tzinfo))

    assert "killed before it finished" in wait.message
