"""Results come in any order and are given back by row."""

import io
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.batches.errors import NoRoomError
from functions.batches.spool import Spool

FIRST, ROWS = 41, 8
_puts = st.tuples(st.integers(FIRST, FIRST + ROWS - 1), st.binary(min_size=1, max_size=20))


@given(st.lists(st.one_of(_puts, st.integers(FIRST, FIRST + ROWS - 1)), max_size=30))
def test_gives_back_what_was_kept_in_whatever_order(
    steps: list[tuple[int, bytes] | int],
) -> None:
    kept: dict[int, bytes] = {}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        for step in steps:
            if isinstance(step, tuple):
                spool.put(*step)
                kept[step[0]] = step[1]
            else:
                assert spool.get(step) == kept.get(step)
        for row in range(FIRST - 3, FIRST + ROWS + 3):
            assert (spool.get(row), spool.has(row)) == (kept.get(row), row in kept)


def test_what_does_not_fit_is_kept_a_window_of_rows_at_a_time() -> None:
    kept = {FIRST + n: bytes([97 + n]) * (n + 1) for n in range(ROWS)}
    with TemporaryFile(buffering=0) as file:
        spool = Spool(file, FIRST, ROWS, most=10)
        for row, result in kept.items():
            spool.put(row, result)
        assert not spool.whole

        got: dict[int, bytes | None] = {}
        for window in spool.windows():
            spool.turn(window)
            assert spool.lacking() == len(window)
            for row, result in kept.items():
                spool.put_again(row, result + b"x")  # it was not so long
                spool.put_again(row, result)
                spool.put_again(row, result)
            assert spool.lacking() == 0
            assert file.seek(0, 2) <= 10
            got |= {row: spool.get(row) for row in window}

    assert got == kept
    assert not any(spool.has(row) for row in (FIRST - 1, FIRST + ROWS))


def test_one_result_that_does_not_fit_alone_is_refused_with_its_row_and_the_setting() -> None:
    with TemporaryFile(buffering=0) as file:
        spool = Spool(file, FIRST, ROWS, most=10)
        spool.put(FIRST + 2, b"x" * 11)

        with pytest.raises(NoRoomError, match=r"row 43 has 11 bytes, and 10 fit .*resultsDiskMib"):
            spool.windows()


@pytest.mark.parametrize("row", [FIRST - 1, FIRST + ROWS])
def test_a_row_of_another_chunk_is_refused(row: int) -> None:
    spool = Spool(io.BytesIO(), FIRST, ROWS)

    with pytest.raises(IndexError, match=f"row {row} is none of this chunk's"):
        spool.put(row, b"x")
    assert not any(spool.has(own) for own in range(FIRST, FIRST + ROWS))
