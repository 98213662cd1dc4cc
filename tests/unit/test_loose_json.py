"""A copy of what Python's json module writes, which other parsers accept, too."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model.api_results import read_line
from functions.model.loose_json import parsable
from functions.planning.json_faults import NULL, readable_id

LOOSE = st.recursive(
    st.floats() | st.text(st.characters()) | st.sampled_from(["\ud800", "\udc00x", "\\\ud83d", "NaN"]),
    lambda values: st.lists(values) | st.dictionaries(st.text(max_size=3), values),
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "copy"),
    [
        (rb'{"a":"\ud83d"}', rb'{"a":"\ufffd"}'),
        (rb'"\uDC00\uD83D\uDE00\uD83D"', rb'"\ufffd\uD83D\uDE00\ufffd"'),
        (rb'"\\ud83d \\\ud83d"', rb'"\\ud83d \\\ufffd"'),
        (b'[NaN,Infinity,-Infinity,"NaN"]', b'[0.0,0.000000,-0.000000,"NaN"]'),
        (rb'"an end \", NaN "', rb'"an end \", NaN "'),
        (b"{broken", b"{broken"),
    ],
)
def test_only_what_parsers_refuse_is_replaced(text: bytes, copy: bytes) -> None:
    assert parsable(text) == copy


def test_a_long_text_that_is_cut_off_in_a_string_is_searched_once() -> None:
    """A search that began again at each of its escaped quotes would take an hour."""
    answer = rb'{"custom_id":"a","result":{"text":"' + rb"\"key\": \"value\", " * 80_000
    row = answer.replace(b'"custom_id":"a",', b"")

    with pytest.raises(msgspec.DecodeError):
        read_line(answer)
    assert readable_id(row, len(row)) is NULL


@given(LOOSE)
def test_what_python_writes_can_be_parsed_from_a_copy_of_the_same_length(value: object) -> None:
    text = json.dumps(value).encode()

    copy = parsable(text)

    assert len(copy) == len(text)
    msgspec.json.decode(copy)
    if not isinstance(value, float) or math.isfinite(value):
        assert parsable(copy) == copy
