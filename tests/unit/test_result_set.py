"""Result lines added together are the same as lines added one by one."""

import re
from tempfile import TemporaryFile
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.collecting import result_set
from functions.collecting.result_set import ResultSet
from functions.collecting.spool import Spool
from functions.model.api_results import parse_uniform_lines
from functions.model.ids import RequestId, custom_id_template
from functions.model.items.counts import OutcomeCounts
from tests.unit.factories import JOB_ID, batch

FIRST, ROWS = 41, 9
SENT = [row % 4 != 0 for row in range(ROWS)]
_results = st.sampled_from(
    [
        b'{"type":"succeeded","message":{"model":"m","usage":{"input_tokens":3}}}', b'{"type":"expired"}',
        b'{"type":"errored","error":{"type":"error","error":{"type":"overloaded_error"}}}', b'{"type":"canceled"}',
        b'{"type":"errored","error":5}', b'{"type":7}', b'"none"', b'{"type":"succeeded","message":{"usage":"?"}}',
        b'{"type":"succeeded","message":{"usage":{"input_tokens":-1}}}', b'{"type":"new","x":[{}]}',
    ]
)  # fmt: skip


def line(row: int, result: bytes, attempt: int = 1, job: str = JOB_ID) -> bytes:
    custom_id = str(RequestId(job, "00001", attempt, row)).encode()
    return b'{"custom_id":"%b","result":%b}' % (custom_id, result)


_lines = st.builds(line, st.integers(FIRST - 2, FIRST + ROWS + 1), _results)
INVALID_LINES = [b"", b"{broken", b"[]", line(FIRST + 1, b"{}"), line(FIRST + 1, b'{"type":"expired"}', attempt=2), b"{",
     line(FIRST + 1, b'{"type":"expired"}', job="0" * 20), b'{"custom_id":"x","result":{"type":"expired"}}',
     line(FIRST + 1, b'{"type":"expired"}') + line(FIRST + 2, b'{"type":"expired"}'), b'{"custom_id":"\xff"}',
     line(FIRST + 1, b'{"type":"expired"} {"type":"expired"}'), line(FIRST + 1, b'{"type":"expired"},"new":{}'),
     line(FIRST + 1, b'{"type":"expired"},"result":{"type":"canceled"}'), line(FIRST + 1, b'{"type":"expired"}}{'),
     line(FIRST + 1, b' {"type":"expired"} '), line(FIRST + 1, b'{"type":"expired"}').replace(b":", b": "),
     line(FIRST + 1, b'{"type":"expired"}') + b"\r", line(FIRST + 1, b'{"type":"expired"}')[:-1] + b"]",
     line(FIRST + 1, b'{"type":"a\x0bb"}'), b'{"result":{"type":"expired"},' + line(FIRST + 1, b"")[1 : -len(b',"result":}')] + b"}"]  # fmt: skip
_invalid_lines = st.sampled_from([*INVALID_LINES, line(-FIRST, b'{"type":"expired"}')])


def add_texts(texts: list[bytes]) -> tuple[int, int, bytes, list[bytes | None], OutcomeCounts]:
    """Add each text to a result set; return its state."""
    with TemporaryFile() as file:
        sent_batch = batch(requests=ROWS, first_row=FIRST, last_row=FIRST + ROWS - 1)
        results = ResultSet(sent_batch, SENT, Spool(file, FIRST, ROWS))
        unexpected = sum(results.add(text) for text in texts)
        stored = results.spool.get_all(FIRST, ROWS)
        return unexpected, results.missing, bytes(results.states), stored, results.counter.tally()


@given(
    st.lists(_lines | _lines | _invalid_lines, min_size=1, max_size=8),
    st.permutations(range(FIRST, FIRST + ROWS)),
)
@example(
    [b'{"custom_id":"x",', b'"result":{}}', line(FIRST + 1, b"{}") * 2],
    [*range(FIRST, FIRST + ROWS)],
)
def test_adding_lines_together_equals_adding_them_one_by_one(
    lines: list[bytes], order: list[int]
) -> None:
    all_lines = [
        line(row, b'{"type":"succeeded","message":{}}') for row in order if SENT[row - FIRST]
    ]

    for line_list in (lines, all_lines, all_lines + lines, lines + all_lines):
        with patch.object(result_set, "parse_uniform_lines", return_value=None):
            one_by_one = add_texts(line_list)
        assert add_texts([b"\n".join(line_list)]) == one_by_one


def test_lines_as_written_by_the_api_are_parsed_together() -> None:
    text = b"\n".join(line(row, b'{"type":"expired"}') for row in (FIRST + 2, FIRST))

    read = parse_uniform_lines(text, custom_id_template(JOB_ID, "00001", 1))

    assert read is not None
    assert (read.rows, read.sizes) == ([FIRST + 2, FIRST], [18, 18])
    assert read.text == b'{"type":"expired"}\n{"type":"expired"}'


@pytest.mark.parametrize("invalid_line", INVALID_LINES)
def test_an_unusual_line_is_not_parsed_together(invalid_line: bytes) -> None:
    valid_line = line(FIRST, b'{"type":"canceled"}')

    for text in (
        invalid_line,
        b"\n".join((valid_line, invalid_line)),
        b"\n".join((invalid_line, valid_line)),
    ):
        assert parse_uniform_lines(text, custom_id_template(JOB_ID, "00001", 1)) is None


def test_each_sent_row_is_accepted_once() -> None:
    valid_line = [line(FIRST + n, b'{"type":"expired"}') for n, sent in enumerate(SENT) if sent]
    text = b"\n".join(valid_line)

    assert add_texts([text])[:2] == (0, 0)
    assert add_texts([text, text])[:2] == (sum(SENT), 0)
    assert add_texts([b"\n".join([*valid_line, valid_line[0]])])[:2] == (1, 0)
    assert re.fullmatch(rb"[\x00\x04]*", add_texts([text])[2])
