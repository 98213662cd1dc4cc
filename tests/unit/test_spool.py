"""Results come in any order and are given back by row."""

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
def test_gives_back_what_was_kept_in_whatever_order(steps: list[dict[int, bytes]]) -> None:
    kept: dict[int, bytes] = {}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        for step in steps:
            put(spool, step)
            kept |= step
            own = [kept.get(row) for row in range(FIRST, FIRST + ROWS)]
            assert spool.get_all(FIRST, ROWS) == own
            assert spool.get_all(FIRST + 2, 3) == own[2:5]
            assert [spool.size(row) for row in range(FIRST, FIRST + ROWS)] == [
                len(one or b"") for one in own
            ]


@pytest.mark.parametrize("together", [1, 3, ROWS])
def test_what_does_not_fit_is_kept_a_window_of_rows_at_a_time(together: int) -> None:
    kept = {FIRST + n: bytes([97 + n]) * (n + 1) for n in range(ROWS)}
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS, max_bytes=10)
        for begin in range(FIRST, FIRST + ROWS, together):
            put(spool, {row: kept[row] for row in range(begin, begin + together) if row in kept})
        assert not spool.whole

        got: list[bytes | None] = []
        for window in spool.windows():
            spool.reset_window(window)
            assert spool.missing() == len(window)
            for row, result in kept.items():
                spool.put_missing(row, result + b"x")  # it was not so long
                spool.put_missing(row, result)
                spool.put_missing(row, result)
            assert spool.missing() == 0
            assert file.seek(0, 2) <= 10
            got += spool.get_all(window.start, len(window))

    assert got == [*kept.values()]


def test_one_result_that_does_not_fit_alone_is_refused_with_its_row_and_the_setting() -> None:
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS, max_bytes=10)
        put(spool, {FIRST + 2: b"x" * 11})

        with pytest.raises(
            DiskFullError, match=r"row 43 has 11 bytes, but only 10 fit .*resultsDiskMib"
        ):
            spool.windows()


def test_a_disk_that_is_full_is_an_error_and_no_shorter_result() -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with TemporaryFile() as file:
        spool = Spool(file, FIRST, ROWS)
        put(spool, {FIRST: b"x" * 90_000})
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, most[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                put(spool, {FIRST + 1: b"y" * 90_000})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, most)
            file.truncate(0)
