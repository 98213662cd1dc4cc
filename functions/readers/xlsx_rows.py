"""Print the rows of a workbook as JSON. `xlsx` runs this file in a process of its own, with limited memory.

A workbook of 10 KB can need gigabytes: a cell far from the others makes its sheet large, and each cell has its own
copy of a text that the file stores once. The limit ends only this process, not the whole function.
"""

import resource
import sys
from datetime import date, datetime, time, timedelta

import msgspec

MEMORY_BYTES = 256 << 20
"""Address space of this process; submit has 512 MB in total, and needs about 100 MB itself.

Enough for 2,000,000 numbers or 80 MB of text.
"""
UNREADABLE = 3
TOO_LARGE = 4
UNKNOWN_SHEET = 5
CRASHED = 6
"""Exit codes. `CRASHED` is a defect that this workbook shows: reading it again would end the same way. Where Rust cannot allocate memory, it ends the process with SIGABRT instead of `TOO_LARGE`."""
_WHOLE_DIGITS = 15
"""Digits of a number that Excel stores and displays."""

_encode = msgspec.json.Encoder().encode
_Cell = str | float | bool | date | time | timedelta


def main(path: str, sheet: str | None) -> int:
    """Print the names of all sheets, then each row of one sheet without empty cells at its end.

    Each line is a JSON array of texts.

    Args:
        path: the workbook.
        sheet: the name of the sheet; None for the first visible one.

    Returns:
        The exit code.
    """
    from python_calamine import CalamineError  # noqa: PLC0415 - only this process loads it

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return _print_rows(path, sheet)
    except MemoryError:
        return TOO_LARGE
    except CalamineError:
        return UNREADABLE
    except OSError:  # the file or the pipe, and not the workbook
        raise
    except BaseException:  # noqa: BLE001 - a panic of Rust is no Exception
        return CRASHED


def _print_rows(path: str, name: str | None) -> int:
    from python_calamine import (  # noqa: PLC0415 - only this process loads it
        CalamineWorkbook,
        SheetTypeEnum,
        SheetVisibleEnum,
    )

    book = CalamineWorkbook.from_path(path)
    sheets = [sheet for sheet in book.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
    _print([sheet.name for sheet in sheets])
    if name is None:
        visible = (sheet.name for sheet in sheets if sheet.visible == SheetVisibleEnum.Visible)
        name = next(visible, None)
        if name is None:
            return UNREADABLE
    if name not in {sheet.name for sheet in sheets}:
        return UNKNOWN_SHEET
    for cells in book.get_sheet_by_name(name).iter_rows():
        while cells and cells[-1] == "":
            cells.pop()
        _print([text_of(cell) for cell in cells])
    return 0


def _print(cells: list[str]) -> None:
    sys.stdout.buffer.write(_encode(cells) + b"\n")


def text_of(cell: _Cell) -> str:
    """Return a cell as text: dates and times in ISO 8601, TRUE or FALSE, numbers without needless digits."""
    match cell:
        case str():
            return cell
        case bool():
            return str(cell).upper()
        case int() | float():
            return _number(cell)
        case datetime() if cell.time() == time():
            return cell.date().isoformat()
        case timedelta():
            return _duration(cell)
        case _:
            return cell.isoformat()


def _number(number: float) -> str:
    if number.is_integer() and abs(number) < 10**_WHOLE_DIGITS:
        return str(int(number))
    return f"{number:.{_WHOLE_DIGITS}g}"


def _duration(duration: timedelta) -> str:
    """Return a duration in hours, minutes and seconds, as the format ``[h]:mm:ss`` shows it."""
    minutes, seconds = divmod(abs(round(duration.total_seconds())), 60)
    sign = "-" if duration < timedelta() else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}:{seconds:02}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], msgspec.json.decode(sys.argv[2])))
