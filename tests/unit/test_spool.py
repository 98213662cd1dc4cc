"""Results arrive in any order and are returned by row."""

import resource
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.collecting.spool import Spool
from functions.errors import DiskFullError

FIRST, ROWS = 41, 8
_puts = st.dictionaries(
    st.integers(FIRST, FIRST + ROWS - 1), st.binary(min_size=1, max_size=20), min_size=1
)


def put(spool: Spool, results: dict[int, bytes]) -> None:
    spool.put_all([*results], b"\n".join(results.values()), [*map(len, results.values())])


@given(st.lists(_puts, max_size=8))
def test_results_are_returned_by_row_in_any_order_of_arrival(
    steps: list[dict[int, bytes]],
) -> None:
    stored: dict[int, bytes] = {}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        for step in steps:
            put(spool, step)
            stored |= step
            expected = [stored.get(row) for row in range(FIRST, FIRST + ROWS)]
            assert spool.get_all(FIRST, ROWS) == expected
            assert spool.get_all(FIRST + 2, 3) == expected[2:5]
            assert [spool.size(row) for row in range(FIRST, FIRST + ROWS)] == [
                len(result or b"") for result in expected
            ]


@pytest.mark.parametrize("rows_at_once", [1, 3, ROWS])
def test_results_that_do_not_fit_are_stored_one_window_at_a_time(rows_at_once: int) -> None:
    stored = {FIRST + n: bytes([97 + n]) * (n + 1) for n in range(ROWS)}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS, max_bytes=10)
        for start in range(FIRST, FIRST + ROWS, rows_at_once):
            put(
                spool,
                {row: stored[row] for row in range(start, start + rows_at_once) if row in stored},
            )
        assert not spool.whole

        read_back: list[bytes | None] = []
        for window in spool.windows():
            spool.reset_window(window)
            assert spool.missing() == len(window)
            for row, result in stored.items():
                spool.put_missing(row, result + b"x")  # its size was smaller
                spool.put_missing(row, result)
                spool.put_missing(row, result)
            assert spool.missing() == 0
            assert file.seek(0, 2) <= 10
            read_back += spool.get_all(window.start, len(window))

    assert read_back == [*stored.values()]


def test_a_result_larger_than_the_disk_raises_an_error_with_row_and_setting() -> None:
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS, max_bytes=10)
        put(spool, {FIRST + 2: b"x" * 11})

        with pytest.raises(
            DiskFullError, match=r"row 43 has 11 bytes, but only 10 fit .*resultsDiskMib"
        ):
            spool.windows()


def test_a_full_disk_raises_an_error() -> None:
    previous_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        put(spool, {FIRST: b"x" * 90_000})
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, previous_limit[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                put(spool, {FIRST + 1: b"y" * 90_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, previous_limit)
            file.truncate(0)
