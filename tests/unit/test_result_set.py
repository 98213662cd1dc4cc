"""Lines of results taken many at once come out exactly as lines taken one by one."""

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
from functions.model.items import OutcomeCounts
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
    own = str(RequestId(job, "00001", attempt, row)).encode()
    return b'{"custom_id":"%b","result":%b}' % (own, result)


_lines = st.builds(line, st.integers(FIRST - 2, FIRST + ROWS + 1), _results)
ODD = [b"", b"{broken", b"[]", line(FIRST + 1, b"{}"), line(FIRST + 1, b'{"type":"expired"}', attempt=2), b"{",
     line(FIRST + 1, b'{"type":"expired"}', job="0" * 20), b'{"custom_id":"x","result":{"type":"expired"}}',
     line(FIRST + 1, b'{"type":"expired"}') + line(FIRST + 2, b'{"type":"expired"}'), b'{"custom_id":"\xff"}',
     line(FIRST + 1, b'{"type":"expired"} {"type":"expired"}'), line(FIRST + 1, b'{"type":"expired"},"new":{}'),
     line(FIRST + 1, b'{"type":"expired"},"result":{"type":"canceled"}'), line(FIRST + 1, b'{"type":"expired"}}{'),
     line(FIRST + 1, b' {"type":"expired"} '), line(FIRST + 1, b'{"type":"expired"}').replace(b":", b": "),
     line(FIRST + 1, b'{"type":"expired"}') + b"\r", line(FIRST + 1, b'{"type":"expired"}')[:-1] + b"]",
     line(FIRST + 1, b'{"type":"a\x0bb"}'), b'{"result":{"type":"expired"},' + line(FIRST + 1, b"")[1 : -len(b',"result":}')] + b"}"]  # fmt: skip
_odd = st.sampled_from([*ODD, line(-FIRST, b'{"type":"expired"}')])


def taken(texts: list[bytes]) -> tuple[int, int, bytes, list[bytes | None], OutcomeCounts]:
    """Take each text; gives what is known afterwards."""
    with TemporaryFile() as file:
        one = batch(requests=ROWS, first_row=FIRST, last_row=FIRST + ROWS - 1)
        got = ResultSet(one, SENT, Spool(file, FIRST, ROWS))
        strange = sum(got.add(text) for text in texts)
        kept = got.spool.get_all(FIRST, ROWS)
        return strange, got.missing, bytes(got.states), kept, got.counter.tally()


@given(
    st.lists(_lines | _lines | _odd, min_size=1, max_size=8),
    st.permutations(range(FIRST, FIRST + ROWS)),
)
@example(
    [b'{"custom_id":"x",', b'"result":{}}', line(FIRST + 1, b"{}") * 2],
    [*range(FIRST, FIRST + ROWS)],
)
def test_many_at_once_are_the_same_as_one_by_one(lines: list[bytes], order: list[int]) -> None:
    every = [line(row, b'{"type":"succeeded","message":{}}') for row in order if SENT[row - FIRST]]

    for some in (lines, every, every + lines, lines + every):
        with patch.object(result_set, "parse_uniform_lines", return_value=None):
            one_by_one = taken(some)
        assert taken([b"\n".join(some)]) == one_by_one


def test_lines_as_the_api_writes_them_are_read_at_once() -> None:
    text = b"\n".join(line(row, b'{"type":"expired"}') for row in (FIRST + 2, FIRST))

    read = parse_uniform_lines(text, custom_id_template(JOB_ID, "00001", 1))

    assert read is not None
    assert (read.rows, read.sizes) == ([FIRST + 2, FIRST], [18, 18])
    assert read.text == b'{"type":"expired"}\n{"type":"expired"}'


@pytest.mark.parametrize("odd", ODD)
def test_a_line_that_is_any_other_is_not_read_at_once(odd: bytes) -> None:
    good = line(FIRST, b'{"type":"canceled"}')

    for text in (odd, b"\n".join((good, odd)), b"\n".join((odd, good))):
        assert parse_uniform_lines(text, custom_id_template(JOB_ID, "00001", 1)) is None


def test_each_row_that_was_sent_is_wanted_once() -> None:
    good = [line(FIRST + n, b'{"type":"expired"}') for n, sent in enumerate(SENT) if sent]
    text = b"\n".join(good)

    assert taken([text])[:2] == (0, 0)
    assert taken([text, text])[:2] == (sum(SENT), 0)
    assert taken([b"\n".join([*good, good[0]])])[:2] == (1, 0)
    assert re.fullmatch(rb"[\x00\x04]*", taken([text])[2])
