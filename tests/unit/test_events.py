"""Events under the rules of SNS and CloudEvents, which the emulators do not hold: pinned here as data."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import events, upload_events
from functions.model.events import Event
from functions.model.items import Checkpoint
from functions.planning.ignored import suffix_of
from tests.unit.factories import AT, JOB_ID, batch, ignored, job, one_of_each, wish

# https://docs.aws.amazon.com/sns/latest/api/API_Publish.html and .../dg/sns-message-attributes.html
SUBJECT = re.compile(r"[!-~][ -~]{0,98}")
MESSAGE_MOST = 262_144
RAW_DELIVERY_MOST = 10
ATTRIBUTE_NAME = re.compile(r"(?!aws\.|amazon\.)[A-Za-z0-9_-]+([.][A-Za-z0-9_-]+)*", re.IGNORECASE)
# https://www.w3.org/TR/REC-xml/#charsets: SNS refuses other characters, and the event would never go out.
XML = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")

keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=300)
FIGURES: dict[str, Any] = {
    "rows": 3,
    "counts": {"succeeded": 3},
    "cost_usd": None,
    "manifest": "m",
}


def of_uploads(key: str) -> list[Event]:
    folder, _, name = key.rpartition("/")
    counted = ignored(folder=folder, suffix=suffix_of(key), count=10**9)
    return [
        upload_events.upload_ignored(counted, {"bucket": "b", "key": key}, [".jsonl"], AT),
        upload_events.cancel_unmatched(wish(key), [name or "x"] * 99, AT, AT),
    ]


def of_job(key: str, failure: str | None = None) -> list[Event]:
    made = job(key, checkpoint=Checkpoint(row=10**9), failure=failure)
    return [events.job_planned(made, "b", AT), events.job_ended(made, "b", FIGURES, AT)]


@given(keys, st.none() | st.text(max_size=300))
@example("\r\n\x00\x7f\u2028.jsonl", "\n\n")
@example("a\x00b\uffff/c.jsonl", None)
@example("x" * 300, "é" * 300)
@example("   /   ", " ")
def test_sns_takes_the_subject_and_the_attributes_of_any_upload(
    key: str, failure: str | None
) -> None:
    for event in [*of_job(key, failure), *of_uploads(key)]:
        assert SUBJECT.fullmatch(event.sns_subject)
        filters = event.message_attributes()
        assert 2 <= len(filters) <= RAW_DELIVERY_MOST
        assert all(0 < len(text) <= 200 for text in filters.values())
        assert all(ATTRIBUTE_NAME.fullmatch(name) for name in filters)
        assert all(XML.fullmatch(text) for text in filters.values())
        assert len(msgspec.json.encode(event.cloud_event("urn:x:y"))) < MESSAGE_MOST


@given(st.text(max_size=200))
def test_sns_takes_the_subject_whatever_the_headline_is(headline: str) -> None:
    event = msgspec.structs.replace(of_job("a")[0], headline=headline)

    assert SUBJECT.fullmatch(event.sns_subject)


@pytest.mark.parametrize("kind", one_of_each())
def test_sns_takes_each_type(kind: str) -> None:
    event = one_of_each()[kind]

    assert SUBJECT.fullmatch(event.sns_subject)
    assert event.message_attributes()["type"] == kind
    assert len(event.message_attributes()) <= RAW_DELIVERY_MOST
    assert all(event.message_attributes().values())


def test_an_upload_without_a_folder_has_no_empty_attribute() -> None:
    assert "folder" not in of_job("march.jsonl")[0].message_attributes()
    assert of_job("a/b/march.jsonl")[0].message_attributes()["folder"] == "a/b"


@pytest.mark.parametrize("kind", one_of_each())
def test_the_same_event_told_twice_has_the_same_id(kind: str) -> None:
    assert one_of_each()[kind] == one_of_each()[kind]
    source = "urn:claude-batch-relay:relay"
    assert one_of_each()[kind].cloud_event(source)["source"] == source


def test_different_events_have_different_ids() -> None:
    second = batch(attempt=2, item="00001-2", batch_id="msgbatch_2")
    more = [
        events.batch_ended(second, {}, AT),
        events.batch_ended(msgspec.structs.replace(second, batch_id="msgbatch_3"), {}, AT),
        events.stuck(second, "x", AT),
        events.stuck(job(tries=5, next_step="plan"), "x", AT),
        events.stuck(job(tries=5, next_step="assemble"), "x", AT),
        events.paused("billing", "x", "2026-11-24T00:00:00.000Z"),
        events.job_planned(job(job="1" * 20), "b", AT),
    ]
    ids = [event.id for event in [*one_of_each().values(), *more]]

    assert len(set(ids)) == len(ids)


def test_completed_and_rejected_are_one_event_of_a_job() -> None:
    """A subscriber who waits for either sees one end of a job, never two."""
    ended = [
        events.job_ended(job(checkpoint=Checkpoint(row=2), rows_rejected=bad), "b", FIGURES, AT)
        for bad in (0, 2)
    ]

    assert [event.type for event in ended] == ["job.completed", "job.rejected"]
    assert ended[0].id == ended[1].id == f"{JOB_ID}/ended"


def test_the_headline_says_how_it_ended_and_why() -> None:
    assert of_job("march.jsonl")[1].sns_subject == "march-3f9ac21b: failed; 3 of 3 rows succeeded"
    assert (
        of_job("march.jsonl", "it is empty")[1].sns_subject
        == "march-3f9ac21b: failed; it is empty"
    )


@pytest.mark.parametrize(
    ("headline", "subject"),
    [
        ("x" * 99, "x" * 99),
        ("x" * 100, "x" * 96 + "..."),
        ("word " * 20, ("word " * 20).strip()),
        ("word " * 21, "word " * 18 + "word..."),
        ("x" * 96 + " y" * 3, "x" * 96 + "..."),
    ],
)
def test_a_long_subject_is_cut_at_a_word(headline: str, subject: str) -> None:
    assert msgspec.structs.replace(of_job("a")[0], headline=headline).sns_subject == subject


@pytest.mark.parametrize(
    ("key", "suffix"),
    [
        ("a/b.JSON", ".json"), ("a.b/c", ""), ("a.tar.gz", ".gz"), (".env", ".env"), ("a.", ""), ("a.0001", ""),
        ("a.7z", ".7z"), ("a." + "x" * 17, ""), ("a.é", ""),
    ],
)  # fmt: skip
def test_the_suffix_of_a_key(key: str, suffix: str) -> None:
    assert suffix_of(key) == suffix
