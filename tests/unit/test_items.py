"""Labels and results prefixes of jobs, and reading items from the table."""

import re

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import items
from functions.model.items.batch import Batch, BatchStatus, CloseReason, batch_key
from functions.model.items.job import Checkpoint, Job
from functions.model.items.stored_objects import ChunkOutput, StoredObject
from functions.model.items.work_item import Step, status_key
from tests.unit.factories import JOB_ID, batch, job

MAX_S3_KEY_BYTES = 1024
keys = st.text(st.characters(codec="utf-8"), min_size=1, max_size=400).filter(
    lambda key: len(key.encode()) <= MAX_S3_KEY_BYTES
)


@given(keys)
@example("x" * 1024)
@example("語" * 340 + ".jsonl")
@example(".jsonl")
@example("a/")
@example("\x00/\x7f.jsonl")
def test_any_key_has_a_label_and_a_valid_results_prefix(key: str) -> None:
    new_job = job(key)

    assert re.fullmatch(r"[A-Za-z0-9._-]{1,40}-3f9ac21b", new_job.label)
    assert new_job.results_prefix.startswith("results/")
    assert new_job.results_prefix.endswith(f"/{JOB_ID}")
    # Leave room for the longest name: a group in a join of thousands of parts.
    assert len(f"{new_job.results_prefix}/manifest.json.10000".encode()) <= MAX_S3_KEY_BYTES


@pytest.mark.parametrize(
    ("key", "label", "folder"),
    [
        ("march.jsonl", "march", "march"),
        ("a/b c/march 2026.jsonl", "march_2026", "a/b c/march 2026"),
        ("a.b/march", "march", "a.b/march"),
        ("a/märz.final.jsonl", "m_rz.final", "a/märz.final"),
    ],
)
def test_the_results_prefix_has_the_uploads_folder(key: str, label: str, folder: str) -> None:
    assert job(key).label == f"{label}-{JOB_ID[:8]}"
    assert job(key).results_prefix == f"results/{folder}/{JOB_ID}"


def test_two_long_keys_with_a_common_prefix_have_different_results_prefixes() -> None:
    first, second = job("x" * 1000), job("x" * 1001, job="0" * 20)

    assert first.results_prefix != second.results_prefix


def test_sendable_rows_are_those_not_rejected() -> None:
    assert job(checkpoint=Checkpoint(row=10), rows_rejected=3).sendable_rows == 7


def test_a_batch_counts_all_rows_of_its_chunk() -> None:
    assert batch(first_row=11, last_row=20).rows == 10
    assert batch_key(batch()) == f"{JOB_ID}/00001-1"


def test_items_survive_the_table() -> None:
    part = ChunkOutput(results=StoredObject(key="k", size=1, crc32=2))
    for item in (
        job(rejection_counts={"a": 1}, checkpoint=Checkpoint(row=5)),
        batch(part=part, close_reason=CloseReason.KEPT),
    ):
        assert items.read(msgspec.to_builtins(item)) == item


def test_attributes_of_a_newer_version_are_ignored() -> None:
    newer = msgspec.to_builtins(batch()) | {"invented_later": 1}

    assert items.read(newer) == batch()


def test_the_item_key_decides_the_type() -> None:
    assert isinstance(items.read(msgspec.to_builtins(job())), Job)
    assert isinstance(items.read(msgspec.to_builtins(batch())), Batch)


def test_the_status_key_sorts_by_status_and_age() -> None:
    times = ["2026-11-22", "2026-11-23"]
    written = [status_key(status, day) for status in ("ENDED", "WAITING") for day in times]

    assert written == sorted(written)


def test_the_stored_names_do_not_change() -> None:
    """Stored values outlive a deploy: changing one orphans items."""
    assert [step.value for step in Step] == ["plan", "send", "collect", "assemble", "tidy"]
    assert {status.value for status in BatchStatus} == {
        "WAITING", "SENDING", "UNCONFIRMED", "IN_PROGRESS", "ENDED", "COLLECTED", "SPLIT", "STUCK",
    }  # fmt: skip
