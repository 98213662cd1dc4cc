"""results.csv: the rows of the upload as they are, followed by columns with the answers.

UTF-8 with a byte order mark for Excel, RFC 4180, CRLF. An upload without columns gets `row` and `custom_id` instead.

A spreadsheet interprets text that begins with ``= + - @``, a tab or CR as a formula. Such texts get an apostrophe in
front, but only in the columns that this module adds: the cells of the upload come back as they were. A JSON number
cannot be a formula and gets none.
"""

from collections.abc import Iterator

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.exports.contract import ExportContext, ExportRow, JobSummary
from functions.model import loose_json
from functions.model.api_results import MessageUsage, read_result
from functions.readers.tables import BOM, csv_line, without_formula

PATH = "results.csv"
_ROW_COLUMNS = ("row", "custom_id")
_ANSWER_COLUMNS = ("answer", "status", "stop_reason", "error", "input_tokens", "output_tokens")
COUNTS = (4, 5)
"""Those of `_ANSWER_COLUMNS` that hold whole numbers."""
_CLASH_SUFFIX = "_claude"
_UNKNOWN_FORM = "the result has an unknown form; see results.jsonl"


class _Block(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct, frozen=True, gc=False):
    content: list[_Block] = []
    stop_reason: str | None = None
    usage: MessageUsage = MessageUsage()


class _Error(msgspec.Struct, frozen=True, gc=False):
    """The error of a rejection, or the API's: an envelope around another one."""

    message: str | None = None
    error: "_Error | None" = None


class _Result(msgspec.Struct, frozen=True, gc=False):
    type: str
    message: _Message = _Message()
    error: _Error = _Error()


_result = msgspec.json.Decoder(_Result)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_NULL = msgspec.Raw(b"null")


def paths(_context: ExportContext) -> tuple[str, ...]:
    """Return the path of the only file."""
    return (PATH,)


def head(_path: str, context: ExportContext) -> bytes:
    """Return the header, with a byte order mark."""
    return BOM.encode() + csv_line(names(context))


def names(context: ExportContext) -> list[str]:
    """Return the names of all columns: those of the upload, and those of the answers."""
    names = list(context.columns or _ROW_COLUMNS)
    taken = {name.casefold() for name in names}  # Excel's tables and SQL ignore case
    for name in added_names(context):
        free = name
        while free.casefold() in taken:
            free += _CLASH_SUFFIX
        taken.add(free.casefold())
        names.append(free)
    return names


def added_names(context: ExportContext) -> list[str]:
    """Return the names of the columns of the answers, before clashes with those of the upload."""
    return [*_ANSWER_COLUMNS, *_properties(context)]


def lines(row: ExportRow, context: ExportContext) -> Iterator[tuple[str, bytes]]:
    """Yield the row with its answer. The upload's cells are empty if they cannot be read."""
    result = _read(row.result)
    texts, counts = _texts(result), _counts(result)
    answers = _answers(texts[0], context)
    cells = [
        *cells_of_upload(row, context),
        *map(without_formula, texts),
        *("" if count is None else str(count) for count in counts),
        *map(_guarded_cell, answers),
    ]
    yield PATH, csv_line(cells)


def unguarded_cells(row: ExportRow, context: ExportContext) -> list[str | int | None]:
    """Return the cells of a row as they are, for files that no spreadsheet takes for formulas."""
    result = _read(row.result)
    texts = _texts(result)
    answers = _answers(texts[0], context)
    return [*cells_of_upload(row, context), *texts, *_counts(result), *map(_cell, answers)]


def _texts(result: _Result) -> tuple[str, str, str, str]:
    answer = "".join(block.text or "" for block in result.message.content if block.type == "text")
    error = (result.error.error or result.error).message or ""
    return answer, result.type, result.message.stop_reason or "", error


def _counts(result: _Result) -> tuple[int | None, int | None]:
    return result.message.usage.input_tokens, result.message.usage.output_tokens


def closing(_summary: JobSummary, _context: ExportContext) -> dict[str, bytes]:
    """Return no files: results.csv needs no closing file."""
    return {}


def _properties(context: ExportContext) -> list[str]:
    """Return the names of the properties in the schema of the answers."""
    properties = (context.schema or {}).get("properties")
    return list(properties) if isinstance(properties, dict) else []


def _read(result: bytes) -> _Result:
    """Read a result. One with an unknown form keeps its type and gets an error that refers to results.jsonl."""
    try:
        return loose_json.decode(_result, result)
    except UNREADABLE_JSON:
        return _Result(read_result(result).type, error=_Error(_UNKNOWN_FORM))


def cells_of_upload(row: ExportRow, context: ExportContext) -> list[str]:
    """Return the cells of the upload, or the row's number and custom_id if it has no columns."""
    if not context.columns:
        return [str(row.row), _cell(row.custom_id)]
    record = _object.decode(row.record or b"{}")
    return [_cell(record.get(column, b"null")) for column in context.columns]


def _answers(answer: str, context: ExportContext) -> list[msgspec.Raw]:
    """Return the properties of an answer in JSON. They are null if it is refused, cut off or not an object."""
    properties = _properties(context)
    try:
        values = _object.decode(answer) if properties else {}
    except UNREADABLE_JSON:
        values = {}
    return [values.get(name, _NULL) for name in properties]


def _cell(value: bytes | msgspec.Raw) -> str:
    """Return a JSON value as text: a string without quotes, null empty, anything else as JSON."""
    raw = bytes(value)
    try:
        return _text.decode(raw)
    except UNREADABLE_JSON:  # not a string, or one with an unpaired surrogate escape
        return "" if raw == b"null" else raw.decode()


def _guarded_cell(value: bytes | msgspec.Raw) -> str:
    cell = _cell(value)
    return without_formula(cell) if bytes(value).startswith(b'"') else cell
