"""The names we give: they prove whose row a result is."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.ids import RequestId, batch_name, chunk_name, job_id

THE_APIS_OWN = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SPLITS_MOST = 20
"""A batch of 100,000 is one row after 17 halvings."""

chunks = st.builds(
    lambda number, halves: chunk_name(number) + halves,
    st.integers(1, 9_999_999),
    st.text("ab", max_size=SPLITS_MOST),
)
ids = st.builds(
    RequestId,
    job=st.text("0123456789abcdef", min_size=20, max_size=20),
    chunk=chunks,
    attempt=st.integers(1, 9),
    row=st.integers(1, 999_999_999_999),
)


@given(ids)
def test_every_name_is_one_that_the_api_takes_and_reads_back(wire: RequestId) -> None:
    assert THE_APIS_OWN.fullmatch(str(wire))
    assert RequestId.parse(str(wire)) == wire
    assert wire.batch == batch_name(wire.chunk, wire.attempt)


@given(st.text(max_size=64))
def test_what_is_not_ours_is_nobodys(custom_id: str) -> None:
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
def test_what_only_looks_like_ours_is_nobodys(custom_id: str) -> None:
    assert RequestId.parse(custom_id) is None


def test_reads_as_the_design_writes_it() -> None:
    wire = RequestId.parse("3f9ac21b04d7c1e89a02-00001-1-000000017")

    assert wire == RequestId("3f9ac21b04d7c1e89a02", "00001", 1, 17)


@given(st.tuples(st.text(max_size=9), st.text(max_size=9), st.text(max_size=9)))
def test_a_job_is_named_by_its_upload_alone(upload: tuple[str, str, str]) -> None:
    assert job_id(*upload) == job_id(*upload)
    assert re.fullmatch(r"[0-9a-f]{20}", job_id(*upload))


def test_another_version_is_another_job() -> None:
    named = [job_id(*upload) for upload in itertools.product("ab", "ab", "12")]

    assert len(set(named)) == 8


@given(st.integers(1, 99_998), st.text("ab", max_size=SPLITS_MOST), st.integers(1, 9))
def test_text_order_is_row_order(number: int, halves: str, attempt: int) -> None:
    """So one Query of the table gives a job's batches in order."""
    chunk = chunk_name(number) + halves

    assert chunk + "a" < chunk + "b" < chunk_name(number + 1)
    assert batch_name(chunk, attempt) < batch_name(chunk, attempt + 1) or attempt == 9
    assert batch_name(chunk + "a", attempt) < batch_name(chunk + "b", 1)
