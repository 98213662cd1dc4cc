"""Events obey the rules of SNS and CloudEvents, which the emulators do not enforce."""

import re
import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import events, upload_events
from functions.model.events import Event
from functions.model.items.job import Checkpoint
from functions.planning.ignored import suffix_of
from tests.unit.factories import (
    AT,
    JOB_ID,
    batch,
    example_events,
    ignored,
    job,
    marker_request,
)
from tests.unit.schemas import problems

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and .../dg/sns-message-attributes.html
SUBJECT = re.compile(r"[!-~][ -~]{0,98}")
MAX_MESSAGE_BYTES = 262_144
MAX_RAW_ATTRIBUTES = 10
ATTRIBUTE_NAME = re.compile(r"(?!aws\.|amazon\.)[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*", re.IGNORECASE)
# https://www.w3.org/TR/REC-xml/#charsets: SNS rejects other characters, and the event would never
# be published.
XML_TEXT = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
FIGURES: dict[str, Any] = {
    "rows": 3,
    "counts": {"succeeded": 3},
    "cost_usd": None,
    "manifest": "m",
}


def upload_events_of(key: str) -> list[Event]:
    folder, _, name = key.rpartition("/")
    ignored_count = ignored(folder=folder, suffix=suffix_of(key), count=10**9)
    return [
        upload_events.upload_ignored(ignored_count, {"bucket": "b", "key": key}, [".jsonl"], AT),
        upload_events.marker_unmatched(marker_request(key), [name or "x"] * 99, AT, AT),
    ]


def job_events_of(key: str, failure: str | None = None) -> list[Event]:
    new_job = job(key, checkpoint=Checkpoint(row=10**9), failure=failure)
    return [events.job_planned(new_job, "b", AT), events.job_ended(new_job, "b", FIGURES, AT)]


@given(keys, st.none() | st.text(max_size=300))
@example("\r\n\x00\x7f\u2028.jsonl", "\n\n")
@example("a\x00b\uffff/c.jsonl", None)
@example("x" * 300, "é" * 300)
@example("   /   ", " ")
def test_sns_accepts_subject_and_attributes_of_any_upload(key: str, failure: str | None) -> None:
    for event in [*job_events_of(key, failure), *upload_events_of(key)]:
        assert SUBJECT.fullmatch(event.sns_subject)
        attributes = event.message_attributes()
        assert 2 <= len(attributes) <= MAX_RAW_ATTRIBUTES
        assert all(0 < len(text) <= 200 for text in attributes.values())
        assert all(ATTRIBUTE_NAME.fullmatch(name) for name in attributes)
        assert all(XML_TEXT.fullmatch(text) for text in attributes.values())
        assert len(msgspec.json.encode(event.cloud_event("urn:x:y"))) < MAX_MESSAGE_BYTES


@given(st.text(max_size=200))
def test_sns_accepts_the_subject_of_any_headline(headline: str) -> None:
    event = msgspec.structs.replace(job_events_of("a")[0], headline=headline)

    assert SUBJECT.fullmatch(event.sns_subject)


@pytest.mark.parametrize("event_type", example_events())
def test_sns_accepts_each_event_type(event_type: str) -> None:
    event = example_events()[event_type]

    assert SUBJECT.fullmatch(event.sns_subject)
    assert event.message_attributes()["type"] == event_type
    assert len(event.message_attributes()) <= MAX_RAW_ATTRIBUTES
    assert all(event.message_attributes().values())


def test_an_upload_without_a_folder_has_no_empty_attribute() -> None:
    assert "folder" not in job_events_of("march.jsonl")[0].message_attributes()
    assert job_events_of("a/b/march.jsonl")[0].message_attributes()["folder"] == "a/b"


@pytest.mark.parametrize("event_type", example_events())
def test_a_repeated_event_has_the_same_id(event_type: str) -> None:
    assert example_events()[event_type] == example_events()[event_type]
    source = "urn:claude-batch-relay:relay"
    assert example_events()[event_type].cloud_event(source)["source"] == source


def test_different_events_have_different_ids() -> None:
    second = batch(attempt=2, item="00001-2", batch_id="msgbatch_2")
    further_events = [
        events.batch_ended(second, {}, AT),
        events.batch_ended(msgspec.structs.replace(second, batch_id="msgbatch_3"), {}, AT),
        events.stuck(second, "x", AT),
        events.stuck(job(tries=5, next_step="plan"), "x", AT),
        events.stuck(job(tries=5, next_step="assemble"), "x", AT),
        events.paused("billing", "x", "2026-11-24T00:00:00.000Z"),
        events.job_planned(job(job="1" * 20), "b", AT),
    ]
    ids = [event.id for event in [*example_events().values(), *further_events]]

    assert len(set(ids)) == len(ids)


def test_completed_and_rejected_have_one_id() -> None:
    """A subscriber that waits for both sees the end of a job once."""
    ended = [
        events.job_ended(
            job(checkpoint=Checkpoint(row=2), rows_rejected=rejected), "b", FIGURES, AT
        )
        for rejected in (0, 2)
    ]

    assert [event.type for event in ended] == ["job.completed", "job.rejected"]
    assert ended[0].id == ended[1].id == f"{JOB_ID}/ended"


def test_the_headline_contains_outcome_and_reason() -> None:
    assert (
        job_events_of("march.jsonl")[1].sns_subject
        == "march-3f9ac21b: failed; 3 of 3 rows succeeded"
    )
    assert (
        job_events_of("march.jsonl", "it is empty")[1].sns_subject
        == "march-3f9ac21b: failed; it is empty"
    )


@pytest.mark.parametrize(
    ("headline", "subject"),
    [
        ("x" * 99, "x" * 99),
        ("x" * 100, f"job.planned {JOB_ID}"),
        ("word " * 20, ("word " * 20).strip()),
        ("word " * 21, "word " * 18 + "word..."),
        ("x" * 96 + " y" * 3, "x" * 96 + "..."),
    ],
)
def test_a_long_subject_is_cut_at_a_word(headline: str, subject: str) -> None:
    assert msgspec.structs.replace(job_events_of("a")[0], headline=headline).sns_subject == subject


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        ("a/b.JSON", ".json"), ("a.b/c", ""), ("a.tar.gz", ".gz"), (".env", ".env"), ("a.", ""), ("a.0001", ""),
        ("a.7z", ".7z"), ("a." + "x" * 17, ""), ("a.é", ""),
    ],
)  # fmt: skip
def test_the_suffix_of_a_key(key: str, suffix: str) -> None:
    assert suffix_of(key) == suffix


def test_the_example_of_job_waiting_for_models_is_toml_and_matches_its_schema() -> None:
    event = events.job_waiting_for_models(job(), "results", ["gpt-4o", "ft:gpt-4o:a", "*"], AT)

    assert tomllib.loads(event.data["example"])["models"].keys() == {"gpt-4o", "ft:gpt-4o:a", "*"}
    message = msgspec.json.decode(
        msgspec.json.encode(event.cloud_event("urn:claude-batch-relay:test"))
    )
    assert problems(message) == []


def test_job_waiting_is_another_event_once_other_models_are_missing() -> None:
    ids = [
        events.job_waiting_for_models(job(), "results", models, AT).id
        for models in (["gpt-4o", "o3"], ["gpt-4o", "o3"], ["o3"])
    ]

    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (["id", "text"], ["id", "text"]),
        (["a\x7f", "id", "a\u2028b", "x" * 101, 'a "b"', "{a}", " a ", ""], ["id", "id"]),
        (["x" * 101], ["column", "column"]),
    ],
)
def test_the_example_of_job_waiting_is_toml_and_names_columns_as_they_are(
    columns: list[str], named: list[str]
) -> None:
    example = events.job_waiting(job(), "results", columns, AT).data["example"]

    assert tomllib.loads(example)["request"]["custom_id"] == f"{{{{{named[0]}}}}}"
    assert re.findall(r"{{(.*?)}}", example) == named
