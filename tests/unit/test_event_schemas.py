"""Every event and every documented example matches the schemas in docs/events/."""

import json
import re
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from functions.model import events, upload_events
from functions.model.create_response import PAUSE_MESSAGES, Counts
from functions.model.events import Event
from functions.model.items.batch import BatchStatus
from functions.model.items.job import Checkpoint, JobStatus
from functions.model.items.work_item import Step
from functions.planning.ignored import suffix_of
from tests.unit.factories import AT, batch, example_events, ignored, job, marker_request
from tests.unit.schemas import FOLDER, problems, schemas

SOURCE = "urn:claude-batch-relay:claude-batch-relay"
TYPES = sorted(example_events())
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)


def message(event: Event, **overrides: Any) -> dict[str, Any]:
    """Return the event as published."""
    encoded = msgspec.json.encode(event.cloud_event(SOURCE))
    decoded: dict[str, Any] = json.loads(encoded)
    return decoded | overrides


@cache
def examples() -> list[dict[str, Any]]:
    text = (FOLDER / "README.md").read_text()
    blocks = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    return [block for block in map(json.loads, blocks) if "Message" in block]


def test_each_type_has_a_schema_and_each_schema_a_type() -> None:
    assert sorted(schemas()) == sorted(["envelope", *TYPES])
    assert sorted(schemas()["envelope"]["properties"]["type"]["enum"]) == TYPES


@pytest.mark.parametrize("name", sorted(["envelope", *TYPES]))
def test_each_schema_is_valid_and_strict(name: str) -> None:
    schema = schemas()[name]

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(schema["properties"])


@pytest.mark.parametrize("event_type", TYPES)
def test_an_event_of_each_type_matches_its_schema(event_type: str) -> None:
    assert problems(message(example_events()[event_type])) == []


@pytest.mark.parametrize("event_type", TYPES)
def test_extra_and_missing_fields_are_rejected(event_type: str) -> None:
    event = example_events()[event_type]

    assert problems(message(event, data=event.data | {"prompt": "x"})) != []
    assert problems(message(event, extra=1)) != []
    for name in event.data:
        assert problems(message(event, data={k: v for k, v in event.data.items() if k != name}))
    for other in set(TYPES) - {event_type, "job.completed", "job.rejected"}:
        assert problems(message(event, type=other)) != []


@given(keys, st.none() | st.text(min_size=1, max_size=30), st.none() | st.floats(0, 9))
def test_events_of_any_upload_match_the_schema(
    key: str, failure: str | None, cost: float | None
) -> None:
    new_job = job(
        key,
        checkpoint=Checkpoint(row=5, chunk=1),
        failure=failure,
        outcome="failed" if failure else "succeeded",
    )
    figures = {
        "rows": 5, "counts": {"succeeded": 4, "invented": 1}, "empty_answers": 0, "truncated": 4,
        "cost_usd": cost,
        "manifest": f"s3://b/{new_job.results_prefix}/manifest.json",
    }  # fmt: skip

    other = job(key, outcome=new_job.outcome if new_job.outcome == "succeeded" else None)
    for event in (
        events.job_planned(new_job, "b", AT),
        events.job_ended(new_job, "b", figures, AT),
        upload_events.job_duplicate(new_job, other, "b", AT),
    ):
        assert problems(message(event)) == []


@given(keys)
def test_events_of_any_ignored_upload_and_marker_match_the_schema(key: str) -> None:
    ignored_count = ignored(folder=key, suffix=suffix_of(key))
    for event in (
        upload_events.upload_ignored(ignored_count, {"bucket": "b", "key": key}, [".jsonl"], AT),
        upload_events.marker_unmatched(marker_request(key), [key] * 11, AT, AT),
    ):
        assert problems(message(event)) == []


@pytest.mark.parametrize("item", [job(status=s, next_step=n) for s in JobStatus for n in (*Step, None)
                                  if s is not JobStatus.DONE and n is not Step.TIDY])  # fmt: skip
def test_the_stuck_event_of_any_job_matches_the_schema(item: Any) -> None:
    assert problems(message(events.stuck(msgspec.structs.replace(item, tries=5), "x", AT))) == []


@pytest.mark.parametrize(
    "status",
    [s for s in BatchStatus if s not in {BatchStatus.COLLECTED, BatchStatus.SPLIT, BatchStatus.STUCK}],
)  # fmt: skip
def test_the_stuck_event_of_any_batch_matches_the_schema(status: BatchStatus) -> None:
    item = batch(status=status, item="00001abba-3", tries=5)

    assert problems(message(events.stuck(item, "x", AT))) == []


@pytest.mark.parametrize("reason", PAUSE_MESSAGES)
def test_every_reason_to_pause_is_in_the_schema(reason: str) -> None:
    assert problems(message(events.paused(reason, PAUSE_MESSAGES[reason], AT))) == []
    assert problems(message(events.resumed(reason, AT, AT))) == []


def test_the_counts_of_a_batch_have_the_apis_names() -> None:
    counts = msgspec.to_builtins(Counts(succeeded=3))
    ended_batch = msgspec.structs.replace(
        batch(batch_id="msgbatch_1"), chunk="00001a", item="00001a-1"
    )
    event = events.batch_ended(ended_batch, counts, "2024-09-24T18:37:24.100435Z")

    assert problems(message(event)) == []


@pytest.mark.parametrize("event_type", TYPES)
def test_the_readme_shows_each_event_as_published(event_type: str) -> None:
    (example,) = [
        candidate for candidate in examples() if candidate["Message"]["type"] == event_type
    ]
    event = example_events()[event_type]
    attributes = {
        name: {"Type": "String", "Value": text}
        for name, text in event.message_attributes().items()
    }

    assert problems(example["Message"]) == []
    assert example == {
        "Subject": event.sns_subject, "Message": message(event), "MessageAttributes": attributes,
    }  # fmt: skip


def test_the_readme_links_to_each_schema() -> None:
    linked = re.findall(r"\]\(([a-z.]+\.schema\.json)\)", (FOLDER / "README.md").read_text())

    assert sorted(linked) == sorted(path.name for path in FOLDER.glob("*.schema.json"))
