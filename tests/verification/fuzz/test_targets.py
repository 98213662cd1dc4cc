"""Properties of all fuzz targets, for recorded inputs and for those that hypothesis generates.

campaign.py checks the same properties with a million coverage-guided inputs.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verification.fuzz import corpus
from tests.verification.fuzz.factories import FEW_EXAMPLES, cells, inputs, values, words
from tests.verification.fuzz.foreign_rows import KINDS, uploads_of
from tests.verification.fuzz.targets import TARGETS, Target

UPLOADS = ("reader", "validation", "text", "ledger", "rows")
ANSWERS = ("result", "stream", "verdict", "listing")

FORMATS = ("upload", "json_values", "table", "packed", "encoded")
WORKBOOKS = ("workbook", "workbook_table")


def target(name: str) -> Target:
    return TARGETS[name][0]


@pytest.mark.parametrize("name", TARGETS)
def test_target_holds_for_every_recorded_input(name: str) -> None:
    for seed in corpus.read_seeds(name):
        target(name)(seed)


@pytest.mark.parametrize("name", UPLOADS)
@given(data=inputs)
@FEW_EXAMPLES
def test_target_holds_for_any_upload(name: str, data: bytes) -> None:
    target(name)(data)


@pytest.mark.parametrize("name", FORMATS)
@given(data=inputs)
@FEW_EXAMPLES
def test_target_holds_for_any_format(name: str, data: bytes) -> None:
    target(name)(data)


@pytest.mark.parametrize("name", WORKBOOKS)
@given(data=cells)
@settings(FEW_EXAMPLES, max_examples=8)
def test_target_holds_for_any_workbook(name: str, data: bytes) -> None:
    """Each reading of a workbook starts a process, so there are few. Of Parquet, the recorded inputs are enough."""
    target(name)(data)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@FEW_EXAMPLES
def test_target_holds_for_any_row_of_another_api(kind: str, data: st.DataObject) -> None:
    target(kind)(data.draw(uploads_of(kind)))


@pytest.mark.parametrize("name", ["csv_table", "json_rows"])
@given(data=cells)
@FEW_EXAMPLES
def test_what_goes_in_comes_out_of_any_table_and_any_json(name: str, data: bytes) -> None:
    target(name)(data)


@given(data=inputs)
@settings(FEW_EXAMPLES, max_examples=15)
def test_a_job_of_any_kind_sends_the_rows_of_its_upload(data: bytes) -> None:
    target("any_job")(data)


@pytest.mark.parametrize("name", ANSWERS)
@given(data=inputs, skipped=st.integers(0, 4))
@FEW_EXAMPLES
def test_target_holds_for_any_answer(name: str, data: bytes, skipped: int) -> None:
    target(name)(data[skipped:])


@pytest.mark.parametrize("name", ["key", "request_id", "environment", "message", "refusal"])
@given(data=st.text(max_size=60).map(str.encode) | st.binary(max_size=60))
@FEW_EXAMPLES
def test_target_holds_for_any_message_and_setting(name: str, data: bytes) -> None:
    target(name)(data)


@given(data=st.dictionaries(words | st.text(max_size=9), values).map(lambda document: json.dumps(document).encode()))  # fmt: skip
@FEW_EXAMPLES
def test_target_holds_for_any_context(data: bytes) -> None:
    target("context")(data)


@given(sizes=st.binary(max_size=60))
@FEW_EXAMPLES
def test_join_holds_for_pieces_of_any_size(sizes: bytes) -> None:
    target("join")(sizes)


@given(data=inputs)
@settings(FEW_EXAMPLES, max_examples=25)
def test_a_job_has_one_line_per_row_whatever_claude_answers(data: bytes) -> None:
    target("whole_job")(data)
