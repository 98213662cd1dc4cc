"""Objects without a reader and markers without a job are announced."""

import json
from typing import Any

import pytest

from functions.planning import ignored
from functions.polling.apply_markers import ANNOUNCE_AFTER_S
from functions.readers import SUFFIXES
from functions.settings import PollSettings
from tests.harness import Harness, make_upload

KEY = "in/march.jsonl"


def events_of_type(relay: Harness, kind: str) -> list[dict[str, Any]]:
    """Return the events of a type since the last call."""
    return [event for event in relay.events() if event["type"] == kind]


def test_ignored_objects_are_announced_once_a_day_with_their_count(relay: Harness) -> None:
    for name in ("march.xml", "april.XML", "may.xml"):
        relay.upload(f"in/{name}", b"{}")
    relay.tick()

    (event,) = events_of_type(relay, "upload.ignored")
    assert event["data"]["count"] == 3
    assert event["data"]["suffix"] == ".xml"
    assert event["data"]["reads"] == [*SUFFIXES]

    relay.upload("in/june.xml", b"{}")
    relay.tick()
    assert events_of_type(relay, "upload.ignored") == []

    relay.pass_time(86_400)
    relay.upload("in/july.xml", b"{}")
    relay.tick()
    (next_day,) = events_of_type(relay, "upload.ignored")
    assert next_day["data"]["count"] == 1
    assert next_day["id"] != event["id"]


def test_each_folder_and_each_suffix_has_its_event(relay: Harness) -> None:
    for key in ("a.pdf", "a.xml", "in/a.xml", "in/a.tar.gz", "in/README", "in/part.0001"):
        relay.upload(key, b"x")
    relay.tick()

    event_data = [event["data"] for event in events_of_type(relay, "upload.ignored")]
    assert {(data["upload"]["key"].rpartition("/")[0], data["suffix"]) for data in event_data} == {
        ("", ".pdf"), ("", ".xml"), ("in", ".xml"), ("in", ".gz"), ("in", ""),
    }  # fmt: skip


def test_counting_continues_after_a_crash_before_the_event_was_stored(relay: Harness) -> None:
    relay.submit.uploads.count_ignored("uploads", "in", ".xml", relay.now())

    relay.upload("in/march.xml", b"{}")
    relay.tick()

    (event,) = events_of_type(relay, "upload.ignored")
    assert event["data"]["count"] == 2


def test_a_published_event_is_not_stored_again_for_a_later_object(relay: Harness) -> None:
    relay.upload("in/march.xml", b"{}")
    relay.tick(seconds=11)
    assert len(events_of_type(relay, "upload.ignored")) == 1

    assert ignored.COUNTING_WINDOW.total_seconds() > 11
    relay.upload("in/april.xml", b"{}")
    assert relay.items.unfinished().events == []


def test_folders_and_markers_are_not_ignored_uploads(relay: Harness) -> None:
    relay.upload("in/", b"")
    relay.upload("in/march.jsonl.cancel", b"")
    relay.tick()

    assert events_of_type(relay, "upload.ignored") == []


@pytest.mark.parametrize("marker", [f"{KEY}.cancel", f"{KEY}.CANCEL", "in/march.Cancel"])
def test_a_marker_works_in_upper_or_lower_case_and_without_the_suffix(
    relay: Harness, marker: str
) -> None:
    relay.upload(KEY, make_upload(2))
    relay.pass_time(1)
    relay.upload(marker, b"")
    relay.finish()

    assert relay.manifest(KEY)["outcome"] == "canceled"
    relay.tick(ANNOUNCE_AFTER_S)
    assert events_of_type(relay, "cancel.unmatched") == []


def test_an_ambiguous_marker_cancels_nothing_and_names_the_candidates(
    relay: Harness,
) -> None:
    relay.key = "not-set-yet"  # so that neither job ends
    for suffix in ("jsonl", "ndjson"):
        relay.upload(f"in/march.{suffix}", make_upload(2, suffix))
    relay.pass_time(1)
    relay.upload("in/march.cancel", b"")
    relay.tick()
    relay.tick(ANNOUNCE_AFTER_S)

    assert [job.canceled_at for job in relay.items.unfinished().jobs] == [None, None]
    (event,) = events_of_type(relay, "cancel.unmatched")
    assert event["data"]["candidates"] == ["in/march.jsonl", "in/march.ndjson"]


def test_a_marker_with_a_full_name_cancels_only_that_upload(relay: Harness) -> None:
    relay.upload("in/march.jsonl", make_upload(2))
    relay.upload("in/march.jsonl.jsonl", make_upload(2, "other"))
    relay.pass_time(1)
    relay.upload("in/march.jsonl.cancel", b"")
    relay.finish()

    assert relay.manifest("in/march.jsonl.jsonl")["outcome"] == "succeeded"


def test_a_marker_without_a_suffix_cancels_the_first_matching_upload(relay: Harness) -> None:
    relay.upload("in/march.jsonl", make_upload(2))
    late_event = relay.put("in/march.ndjson", make_upload(2, "late"))
    relay.pass_time(1)
    relay.upload("in/march.cancel", b"")
    relay.finish()
    relay.submit_message(late_event)
    relay.finish()

    ended_jobs = [event["data"] for event in relay.events() if event["type"] == "job.completed"]
    assert [(data["upload"]["key"], data["outcome"]) for data in ended_jobs] == [
        ("in/march.jsonl", "canceled"), ("in/march.ndjson", "succeeded"),
    ]  # fmt: skip


def test_an_unmatched_marker_is_announced_once_and_keeps_waiting(relay: Harness) -> None:
    event = relay.put(KEY, make_upload(2))
    relay.pass_time(1)
    relay.upload("in/march.jsonl.CANCEL", b"")
    relay.tick()
    assert events_of_type(relay, "cancel.unmatched") == []
    for _ in range(3):
        relay.tick(ANNOUNCE_AFTER_S)

    (unmatched,) = events_of_type(relay, "cancel.unmatched")
    assert unmatched["data"]["upload"]["key"] == KEY
    assert unmatched["data"]["marker"] == "in/march.jsonl.CANCEL"
    assert "A finished job cannot be canceled" in unmatched["data"]["message"]

    relay.submit_message(event)
    relay.finish()
    assert relay.manifest(KEY)["outcome"] == "canceled"


def test_an_unmatched_marker_is_announced_at_the_end_of_a_short_window(relay: Harness) -> None:
    relay.deploy(cancellation_window_s=60)
    relay.upload("gone.cancel", b"")
    relay.tick(61)

    assert len(events_of_type(relay, "cancel.unmatched")) == 1
    assert relay.items.unfinished().requests == []
    assert PollSettings.cancellation_window_s > ANNOUNCE_AFTER_S


def test_a_marker_for_an_ended_job_is_announced(relay: Harness) -> None:
    relay.upload(KEY, make_upload(1))
    relay.finish()
    relay.upload(f"{KEY}.cancel", b"")
    relay.tick(ANNOUNCE_AFTER_S)

    assert len(events_of_type(relay, "cancel.unmatched")) == 1


def test_a_second_marker_for_a_canceled_job_is_not_announced(relay: Harness) -> None:
    relay.upload(KEY, make_upload(1))
    for _ in range(2):
        relay.pass_time(1)
        relay.upload(f"{KEY}.cancel", b"")
        relay.poll_once()
    relay.finish()
    relay.tick(ANNOUNCE_AFTER_S)

    assert events_of_type(relay, "cancel.unmatched") == []


def test_a_subscriber_can_filter_by_folder_and_suffix(relay: Harness) -> None:
    relay.upload("in/märz.xml", b"{}")
    relay.tick()

    (envelope,) = relay.envelopes()
    attributes = {name: data["Value"] for name, data in envelope["MessageAttributes"].items()}
    assert attributes == {
        "type": "upload.ignored", "job": "uploads", "folder": "in", "suffix": ".xml",
    }  # fmt: skip
    assert json.loads(envelope["Message"])["subject"] == "uploads"
