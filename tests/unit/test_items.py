"""What people see of jobs and batches, and what the table gives back."""

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import items
from functions.model.items import (
    Batch,
    BatchStatus,
    Checkpoint,
    ChunkOutput,
    CloseReason,
    Job,
    Step,
    StoredObject,
)
from tests.unit.factories import JOB_ID, batch, job

S3_KEY_MOST = 1024
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=400).filter(
    lambda key: len(key.encode()) <= S3_KEY_MOST
)


@given(keys)
@example("x" * 1024)
@example("語" * 340 + ".jsonl")
@example(".jsonl")
@example("a/")
@example("\x00/\x7f.jsonl")
def test_any_key_has_a_label_and_a_folder_that_s3_takes(key: str) -> None:
    made = job(key)

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,40}-3f9ac21b", made.label)
    assert made.results_prefix.startswith("results/")
    assert made.results_prefix.endswith(f"/{JOB_ID}")
    # Room for the longest name in it: a group of a join of thousands of parts.
    assert len(f"{made.results_prefix}/manifest.json.10000".encode()) <= S3_KEY_MOST


@pytest.mark.parametrize(
    ("key", "label", "folder"),
    [
        ("march.jsonl", "march", "march"),
        ("a/b c/march 2026.jsonl", "march_2026", "a/b c/march 2026"),
        ("a.b/march", "march", "a.b/march"),
        ("a/märz.final.jsonl", "m_rz.final", "a/märz.final"),
    ],
)
def test_results_lie_where_the_upload_lay(key: str, label: str, folder: str) -> None:
    assert job(key).label == f"{label}-{JOB_ID[:8]}"
    assert job(key).results_prefix == f"results/{folder}/{JOB_ID}"


def test_two_long_keys_with_the_same_beginning_have_folders_of_their_own() -> None:
    one, other = job("x" * 1000), job("x" * 1001, job="0" * 20)

    assert one.results_prefix != other.results_prefix


def test_usable_rows_are_those_that_are_not_rejected() -> None:
    assert job(checkpoint=Checkpoint(row=10), rows_rejected=3).sendable_rows == 7


def test_a_batch_counts_all_rows_of_its_chunk() -> None:
    assert batch(first_row=11, last_row=20).rows == 10
    assert items.batch_key(batch()) == f"{JOB_ID}/00001-1"


def test_the_table_gives_back_what_was_put() -> None:
    part = ChunkOutput(results=StoredObject(key="k", size=1, crc32=2))
    for item in (
        job(rejection_counts={"a": 1}, checkpoint=Checkpoint(row=5)),
        batch(part=part, close_reason=CloseReason.KEPT),
    ):
        assert items.read(msgspec.to_builtins(item)) == item


def test_what_a_newer_function_wrote_is_passed_over() -> None:
    newer = msgspec.to_builtins(batch()) | {"invented_later": 1}

    assert items.read(newer) == batch()


def test_the_kind_of_an_item_is_told_by_its_key() -> None:
    assert isinstance(items.read(msgspec.to_builtins(job())), Job)
    assert isinstance(items.read(msgspec.to_builtins(batch())), Batch)


def test_the_index_is_sorted_by_status_and_then_by_age() -> None:
    times = ["2026-11-22", "2026-11-23"]
    written = [items.status_key(status, at) for status in ("ENDED", "WAITING") for at in times]

    assert written == sorted(written)


def test_the_words_in_the_table_are_the_designs() -> None:
    """They outlive a deploy: a word that is changed here orphans items."""
    assert [step.value for step in Step] == ["plan", "send", "collect", "assemble", "tidy"]
    assert {status.value for status in BatchStatus} == {
        "WAITING", "SENDING", "UNCONFIRMED", "IN_PROGRESS", "ENDED", "COLLECTED", "SPLIT", "STUCK",
    }  # fmt: skip
