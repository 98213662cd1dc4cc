"""Ids of jobs, batches and requests; a request id identifies the row of a result."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.ids import RequestId, batch_name, chunk_name, job_id, stem_of

CUSTOM_ID_PATTERN = re.compile(r"[a-zA-Z0-9_-]{1,64}")
MAX_SPLITS = 20
"""A batch of 100,000 requests is a single row after 17 splits."""

chunks = st.builds(
    lambda number, split_suffix: chunk_name(number) + split_suffix,
    st.integers(1, 9_999_999),
    st.text("ab", max_size=MAX_SPLITS),
)
ids = st.builds(
    RequestId,
    job=st.text("0123456789abcdef", min_size=20, max_size=20),
    chunk=chunks,
    attempt=st.integers(1, 9),
    row=st.integers(1, 999_999_999_999),
)


@given(ids)
def test_every_request_id_is_valid_for_the_api_and_can_be_parsed(request_id: RequestId) -> None:
    assert CUSTOM_ID_PATTERN.fullmatch(str(request_id))
    assert RequestId.parse(str(request_id)) == request_id
    assert request_id.batch == batch_name(request_id.chunk, request_id.attempt)


@given(st.text(max_size=64))
def test_a_foreign_custom_id_is_not_parsed(custom_id: str) -> None:
    assert RequestId.parse(custom_id) is None


@pytest.mark.parametrize(
    "custom_id",
    [
        "row-1",
        "3f9ac21b04d7c1e89a02-00001-1-000000017 ",
        "3f9ac21b04d7c1e89a02-00001-1-17",
        "3f9ac21b04d7c1e89a02-1-1-000000017",
        "3F9AC21B04D7C1E89A02-00001-1-000000017",
        "3f9ac21b04d7c1e89a02-00001c-1-000000017",
        "3f9ac21b04d7c1e89a02-00001-1-00000001७",
        f"3f9ac21b04d7c1e89a02-00001-{'9' * 5000}-000000017",
        f"3f9ac21b04d7c1e89a02-00001-1-{'9' * 5000}",
    ],
)
def test_a_custom_id_in_a_similar_format_is_not_parsed(custom_id: str) -> None:
    assert RequestId.parse(custom_id) is None


def test_a_documented_request_id_is_parsed() -> None:
    request_id = RequestId.parse("3f9ac21b04d7c1e89a02-00001-1-000000017")

    assert request_id == RequestId("3f9ac21b04d7c1e89a02", "00001", 1, 17)


@given(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)))
def test_a_job_id_depends_only_on_the_upload(upload: tuple[str, str, str]) -> None:
    assert job_id(*upload) == job_id(*upload)
    assert re.fullmatch(r"[0-9a-f]{20}", job_id(*upload))


def test_another_version_has_another_job_id() -> None:
    job_ids = [job_id(*upload) for upload in itertools.product("ab", "ab", "12")]

    assert len(set(job_ids)) == 8


@given(st.integers(1, 99_998), st.text("ab", max_size=MAX_SPLITS), st.integers(1, 9))
def test_text_order_is_row_order(number: int, split_suffix: str, attempt: int) -> None:
    """A single Query returns a job's batches in order."""
    chunk = chunk_name(number) + split_suffix

    assert chunk + "a" < chunk + "b" < chunk_name(number + 1)
    assert batch_name(chunk, attempt) < batch_name(chunk, attempt + 1) or attempt == 9
    assert batch_name(chunk + "a", attempt) < batch_name(chunk + "b", 1)


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("in/march.jsonl", "in/march"),
        ("in/march.jsonl.gz", "in/march"),
        ("in/march.csv.ZST", "in/march"),
        ("a.b/march", "a.b/march"),
        ("march.gz", "march"),
        ("march", "march"),
    ],
)
def test_the_stem_of_a_key_has_no_suffix(key: str, stem: str) -> None:
    assert stem_of(key) == stem
