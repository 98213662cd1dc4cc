"""Excel workbooks: what a person sees in the first sheet is what a row contains."""

import csv
import io
import subprocess
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from functions.errors import ObjectUnreadableError, UnreadableUploadError
from functions.model.rows import Record
from functions.readers import xlsx, xlsx_rows
from functions.readers.tables import TablePosition
from tests.unit.uploads import Upload
from tests.unit.workbooks import DATE_STYLE, HIDDEN, VISIBLE, Cell, sheet_of, workbook

FIRST = xlsx.Workbook()
SECRET = "Zq7 of a cell"


def records(body: bytes, row_bytes: int = 1 << 20, reader: xlsx.Workbook = FIRST) -> list[Record]:
    return list(reader.read(Upload(body), reader.START, row_bytes))


def texts(body: bytes, reader: xlsx.Workbook = FIRST) -> list[str | None]:
    """Return the cells of each row, joined by a bar; None for a row that cannot be sent."""
    return [
        None
        if record.data is None or record.fault
        else "|".join(msgspec.json.decode(record.data).values())
        for record in records(body, reader=reader)
    ]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("a text", "a text"),
        ("", ""),
        (1.0, "1"),
        (-3, "-3"),
        (0.0, "0"),
        (1.5, "1.5"),
        (0.1 + 0.2, "0.3"),
        (123456789012345.0, "123456789012345"),
        (1e20, "1e+20"),
        (float("inf"), "inf"),
        (True, "TRUE"),
        (False, "FALSE"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2), "2026-01-02"),  # noqa: DTZ001 - Excel knows no time zones
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),  # noqa: DTZ001
        (time(3, 4), "03:04:00"),
        (timedelta(hours=36, seconds=5), "36:00:05"),
        (-timedelta(minutes=90), "-1:30:00"),
    ],
)
def test_a_cell_is_the_text_that_a_person_sees(
    cell: str | float | date | time | timedelta, expected: str
) -> None:
    assert xlsx_rows.text_of(cell) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["a", "b"], ["x", 1.0], [True, None]], ["x|1", "TRUE|"]),
        ([["a", "b"], [None, "y"], [], [None, None], [" ", None], ["z"]], ["|y", "z|"]),
        ([[], [None, " a ", "b"], [None, 1, 2]], ["1|2"]),
        ([["a", "b"], ["line\nfeed", 'quo"te']], ['line\nfeed|quo"te']),
        ([["a", "b"], [1, 2, 3], [4, 5]], [None, "4|5"]),
        ([["a"]], []),
    ],
)
def test_finds_the_rows(rows: Sequence[Sequence[Cell]], expected: list[str | None]) -> None:
    assert texts(workbook(rows)) == expected


def test_a_number_with_the_format_of_a_date_is_a_date() -> None:
    assert texts(workbook([["at"], [46024.25], [46025]], style=DATE_STYLE)) == [
        "2026-01-02T06:00:00",
        "2026-01-03",
    ]


def test_reads_the_first_visible_sheet() -> None:
    assert texts(workbook([["a"], ["me"]], hidden_first=True)) == ["me"]


@pytest.mark.parametrize(
    ("sheet", "expected"), [(None, ["me"]), (VISIBLE, ["me"]), (HIDDEN, ["not me"])]
)
def test_reads_the_sheet_that_is_named_even_a_hidden_one(
    sheet: str | None, expected: list[str]
) -> None:
    body = workbook([["a"], ["me"]], hidden_first=True)

    assert texts(body, xlsx.Workbook(sheet)) == expected


@pytest.mark.parametrize("sheet", ["3", "\0", "null"])
def test_a_sheet_that_the_workbook_lacks_refuses_it_and_the_message_names_the_others(
    sheet: str,
) -> None:
    with pytest.raises(UnreadableUploadError) as refusal:
        records(workbook([["a"], ["me"]], hidden_first=True), reader=xlsx.Workbook(sheet))

    assert str(refusal.value) == (
        f'the workbook has no sheet "{sheet}"; name one of its sheets in the option sheet: '
        f"{HIDDEN}, {VISIBLE}"
    )


def test_a_row_knows_its_place_in_the_sheet() -> None:
    first, second = records(workbook([[], ["a"], [], ["x"], ["y", "beyond"]]))

    assert (first.line, first.offset, first.end) == (4, 3, TablePosition(4, 5, ("a",)))
    assert (second.line, second.fault) == (
        5,
        ("ragged_row", "the row has 2 cells and the header 1; name each column"),
    )


def test_a_row_that_is_too_long_has_no_data() -> None:
    (record,) = records(workbook([["a"], ["x" * 60]]), row_bytes=50)

    assert record.data is None
    assert record.fault == (
        "too_long",
        "the row is 68 bytes long; the limit is 50; shorten it or raise the setting rowBytes",
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (workbook([]), "the table has no header; name the columns in its first row"),
        (workbook([["a", None, "b"]]), "column 2 has no name"),
        (workbook([["a", "a"]]), '2 columns are named "a"'),
        (b"", "the file is not an Excel workbook"),
        (b"a,b\n1,2\n", "the file is not an Excel workbook"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(4096), "the file is not an Excel workbook"),
        (workbook([["a"], [1]])[:-40], "the file is not an Excel workbook"),
    ],
)
def test_refuses_what_it_cannot_read(body: bytes, expected: str) -> None:
    with pytest.raises(UnreadableUploadError) as refusal:
        records(body)

    assert str(refusal.value).startswith(expected)


def test_a_small_file_that_needs_much_memory_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    """A sheet is a rectangle, so one cell far away makes it large."""
    body = sheet_of({"A1": "a", "A2": 1, "AY200000": 2})

    with pytest.raises(UnreadableUploadError, match=r"needs more than 256 MB .* save it as CSV"):
        records(body)

    assert not capfd.readouterr().err


def test_a_workbook_that_is_too_large_for_the_disk_is_refused() -> None:
    with pytest.raises(UnreadableUploadError, match=r"larger than 50 MB; save it as CSV"):
        records(bytes(xlsx.MAX_BYTES + 1))


def test_the_process_ends_with_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            processes.append(self)

    monkeypatch.setattr(subprocess, "Popen", Popen)
    rows = FIRST.read(Upload(workbook([["a"], *([["x" * 1000]] * 2000)])), FIRST.START, 1 << 20)
    next(rows)

    del rows

    (process,) = processes
    assert process.returncode is not None


CRASHES = {
    "panic": "print(SECRET, file=sys.stderr)\n        raise Panic(SECRET)",
    "defect": "raise AttributeError(SECRET)",
    "segmentation fault": "os.kill(os.getpid(), signal.SIGSEGV)",
}


@pytest.mark.parametrize("crash", CRASHES.values(), ids=CRASHES)
def test_a_workbook_that_makes_its_reader_crash_is_refused_and_not_quoted(
    crash: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A library in place of the real one crashes. It would crash again, so nothing is gained by another try."""
    _replace_library(f"        {crash}", tmp_path, monkeypatch)

    with pytest.raises(UnreadableUploadError, match="makes its reader fail; open it in Excel"):
        records(workbook([["a"], ["x"]]))

    assert SECRET not in capfd.readouterr().err


def test_a_fault_of_the_disk_is_not_the_workbooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _replace_library("        raise OSError(5, SECRET)", tmp_path, monkeypatch)

    with pytest.raises(subprocess.CalledProcessError):
        records(workbook([["a"], ["x"]]))


def _replace_library(from_path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "import os, signal, sys",
        f"SECRET = {SECRET!r}",
        "SheetTypeEnum = SheetVisibleEnum = CalamineError = ZeroDivisionError",
        "class Panic(BaseException): pass",
        "class CalamineWorkbook:",
        "    def from_path(path):",
        from_path,
    ]
    (folder / "python_calamine.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(folder)


def test_a_workbook_that_lost_rows_is_an_error() -> None:
    rows = FIRST.retry_rows(Upload(workbook([["a"], [1]])), [1, 2], [1, 1])

    assert next(rows) == b"1\r\n"
    with pytest.raises(ObjectUnreadableError, match="shorter than it was"):
        next(rows)


def test_the_retry_file_is_csv() -> None:
    body = workbook([["a;x", "b"], ["=1", "two\nlines"], ["no"], [3]])
    first, _, last = records(body)
    rows = FIRST.retry_rows(Upload(body), [first.offset, last.offset], [1, 1])

    file = FIRST.retry_head(TablePosition(4, 5, ("a;x", "b"))) + b"".join(rows)

    assert [*csv.reader(io.StringIO(file.decode("utf-8-sig"), newline=""))] == [
        ["a;x", "b"], ["=1", "two\nlines"], ["3", ""],
    ]  # fmt: skip
