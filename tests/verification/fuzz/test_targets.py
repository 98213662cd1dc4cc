"""What must hold of any bytes from outside, for what is recorded and for what hypothesis makes up.

The same properties get a million inputs, guided by coverage, from campaign.py.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.verification.fuzz import corpus
from tests.verification.fuzz.factories import FEW, inputs, values, words
from tests.verification.fuzz.targets import TARGETS, Target

UPLOADS = ("reader", "checked", "text", "ledger", "rows")
ANSWERS = ("result", "stream", "verdict", "listing")


def target(name: str) -> Target:
    return TARGETS[name][0]


@pytest.mark.parametrize("name", TARGETS)
def test_holds_for_every_input_that_is_recorded(name: str) -> None:
    for seed in corpus.recorded(name):
        target(name)(seed)


@pytest.mark.parametrize("name", UPLOADS)
@given(data=inputs)
@FEW
def test_holds_for_any_upload(name: str, data: bytes) -> None:
    target(name)(data)


@pytest.mark.parametrize("name", ANSWERS)
@given(data=inputs, front=st.integers(0, 4))
@FEW
def test_holds_for_any_answer(name: str, data: bytes, front: int) -> None:
    target(name)(data[front:])


@pytest.mark.parametrize("name", ["key", "wire_id", "environment", "message", "refusal"])
@given(data=st.text(max_size=60).map(str.encode) | st.binary(max_size=60))
@FEW
def test_holds_for_any_message_and_setting(name: str, data: bytes) -> None:
    target(name)(data)


@given(data=st.dictionaries(words | st.text(max_size=9), values).map(lambda made: json.dumps(made).encode()))  # fmt: skip
@FEW
def test_holds_for_any_context(data: bytes) -> None:
    target("context")(data)


@given(sizes=st.binary(max_size=60))
@FEW
def test_holds_for_pieces_of_any_size(sizes: bytes) -> None:
    target("join")(sizes)


@given(data=inputs)
@settings(FEW, max_examples=25)
def test_as_many_lines_come_out_as_rows_went_in_whatever_claude_answers(data: bytes) -> None:
    target("whole_job")(data)
