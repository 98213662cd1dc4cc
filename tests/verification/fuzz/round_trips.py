"""Fuzz targets for round trips: what goes in comes out, whatever a program writes around it."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

from functions.exports import results_csv
from functions.exports.contract import ExportContext, ExportRow
from functions.planning.conversion import parse_row
from functions.readers.encodings import encoding_of
from tests.unit.parquet_files import parquet_of
from tests.unit.uploads import Upload
from tests.unit.workbooks import workbook
from tests.verification.fuzz.formats import COMPRESSORS
from tests.verification.fuzz.leading_bytes import take_bytes
from tests.verification.fuzz.reading import Reading, check_reading, read_upload

type Rows = list[list[str]]

NAMES = ("id", "größe", 'a "b"', "answer", "line\nfeed")
"""Names of columns. One is that of a new column, which gets another name then."""
ROW_BYTES = 1 << 20
_DELIMITERS, _LINE_ENDS = ",;\t|", ("\r\n", "\n", "\r")
_NOT_IN_XML = "\ufffe\uffff"
_RESULT = (
    b'{"type":"succeeded","message":{"content":[{"type":"text","text":"=1\\r\\n\\"x\\""}],'
    b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2}}}'
)


def _texts(body: bytes) -> list[str]:
    """Return the texts between the bytes that no UTF-8 has, without control characters."""
    decoded = (part.decode(errors="ignore") for part in body.split(b"\xff"))
    return ["".join(char for char in text if char >= " " or char in "\t\r\n") for text in decoded]


def _rows(texts: Sequence[str], width: int) -> Rows:
    """Cut texts into rows of a table; the last row is filled up."""
    filled = [*texts, *[""] * (-len(texts) % width)]
    return [filled[start : start + width] for start in range(0, len(filled), width)]


def csv_table(data: bytes) -> None:
    """Check that a table has its cells again in results.csv, before the new columns.

    Leading bytes set the delimiter, the line end, the quotes, the byte order mark and the width.
    """
    (dialect, width), body = take_bytes(data, 2)
    names = NAMES[: 2 + width % (len(NAMES) - 1)]
    rows = _rows(_texts(body), len(names))
    file = io.StringIO(newline="")
    quotings: tuple[Any, ...] = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NOTNULL)
    delimiter, line_end = _DELIMITERS[dialect % 4], _LINE_ENDS[dialect // 4 % 3]
    csv.writer(
        file, delimiter=delimiter, lineterminator=line_end, quoting=quotings[dialect // 12 % 3]
    ).writerows([names, *rows])
    encoded = file.getvalue().encode("utf-8-sig" if width & 128 else "utf-8")
    reading = read_upload(Upload(encoded, 9), "in/a.csv", ROW_BYTES)
    check_reading(reading, ROW_BYTES)
    _check_cells(reading, names, rows)


def workbook_table(data: bytes) -> None:
    """Check that a workbook has its cells again in results.csv. Rows without text are none."""
    (width,), body = take_bytes(data, 1)
    names = NAMES[: 1 + width % len(NAMES)]
    texts = [text.translate(dict.fromkeys(map(ord, _NOT_IN_XML))) for text in _texts(body)]
    rows = _rows(texts, len(names))
    reading = read_upload(Upload(workbook([names, *rows])), "in/a.xlsx", ROW_BYTES)
    check_reading(reading, ROW_BYTES)
    _check_cells(reading, names, [row for row in rows if "".join(row).strip()])


def parquet_table(data: bytes) -> None:
    """Check that a Parquet file has its cells again in results.csv."""
    (width,), body = take_bytes(data, 1)
    names = NAMES[: 1 + width % len(NAMES)]
    rows = _rows(_texts(body), len(names))
    reading = read_upload(Upload(parquet_of(names, rows)), "in/a.parquet", ROW_BYTES)
    check_reading(reading, ROW_BYTES)
    _check_cells(reading, names, rows)


def _check_cells(reading: Reading, names: Sequence[str], rows: Rows) -> None:
    assert reading.refusal is None, reading.refusal
    assert [list((parse_row(record) or {}).values()) for record in reading.records] == rows
    context = ExportContext(name="a.csv", columns=reading.reader.columns(reading.records[-1].end) if rows else names)  # fmt: skip
    lines = [results_csv.head(results_csv.PATH, context)]
    for number, record in enumerate(reading.records, 1):
        row = ExportRow("j", number, b"null", _RESULT, record.data, 1)
        lines += [line for _, line in results_csv.lines(row, context)]
    text = b"".join(lines).decode("utf-8-sig")
    returned = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert [row[: len(names)] for row in returned] == [[*names], *rows]
    assert {len(row) for row in returned} == {len(names) + 6}
    assert len({name.casefold() for name in returned[0]}) == len(returned[0])


_FORMS: tuple[Callable[[Sequence[str]], str], ...] = (
    "\n".join,
    "".join,
    lambda rows: f"[{','.join(rows)}]",
    lambda rows: "[\r\n " + ",\n ".join(rows) + "\r\n]\r\n",
    lambda rows: f'{{"requests": [{", ".join(rows)}]}}',
    lambda rows: f'{{"model": "m", "x": [{{}}], "requests":[{",".join(rows)}], "z": {{"a": []}}}}',
    lambda rows: "".join(f"[{row}]\n" for row in rows),
    ",\n".join,
)
"""How programs write rows into one file."""
_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le")


def json_rows(data: bytes) -> None:
    """Check that rows are the same in every form, encoding and container.

    Leading bytes set the form, the encoding, the container, indentation and escapes.
    """
    (form, packing, style), body = take_bytes(data, 3)
    rows = [{"id": str(number), "text": text} for number, text in enumerate(_texts(body))]
    indent = 2 if style & 1 else None
    dumped = [json.dumps(row, indent=indent, ensure_ascii=bool(style & 2)) for row in rows]
    text = _FORMS[form % len(_FORMS)](dumped)
    encoding = _ENCODINGS[packing % 4]
    encoded = text.encode(encoding)
    if encoding_of(encoded) != ("utf-8" if packing % 4 < 2 else "utf-16-le"):
        return  # UTF-16 without a mark and almost without ASCII
    compressors = [bytes, *COMPRESSORS.values()]
    packed = compressors[packing // 4 % 4](encoded)
    reading = read_upload(Upload(packed, 11), "in/a.json", ROW_BYTES)
    assert reading.refusal is None, reading.refusal
    assert [parse_row(record) for record in reading.records] == rows
    check_reading(reading, ROW_BYTES)
