"""results.csv: the rows of the upload as they are, and behind them columns with the answers.

UTF-8 with a byte order mark for Excel, RFC 4180, CRLF. An upload without columns gets `row` and `custom_id` instead.

A spreadsheet interprets text that begins with ``= + - @``, a tab or CR as a formula. Such texts get an apostrophe in
front, but only in the columns that this module adds: the cells of the upload come back as they were. A JSON number
cannot be a formula and gets none.
"""

from collections.abc import Iterator

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.exports.contract import ExportContext, ExportRow, JobSummary
from functions.model.api_results import MessageUsage, read_result
from functions.readers.tables import BOM, csv_line, without_formula

PATH = "results.csv"
_ROW_COLUMNS = ("row", "custom_id")
_ANSWER_COLUMNS = ("answer", "status", "stop_reason", "error", "input_tokens", "output_tokens")
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


def paths(_context: ExportContext) -> tuple[str, ...]:
    """Return the path of the only file."""
    return (PATH,)


def head(_path: str, context: ExportContext) -> bytes:
    """Return the header, with a byte order mark."""
    names = list(context.columns or _ROW_COLUMNS)
    taken = {name.casefold() for name in names}  # Excel's tables and SQL ignore case
    for name in (*_ANSWER_COLUMNS, *_properties(context)):
        free = name
        while free.casefold() in taken:
            free += _CLASH_SUFFIX
        taken.add(free.casefold())
        names.append(free)
    return BOM.encode() + csv_line(names)


def lines(row: ExportRow, context: ExportContext) -> Iterator[tuple[str, bytes]]:
    """Yield the row with its answer. The upload's cells are empty if they cannot be read."""
    result = _read(row.result)
    answer = "".join(block.text or "" for block in result.message.content if block.type == "text")
    error = (result.error.error or result.error).message or ""
    usage = result.message.usage
    texts = (answer, result.type, result.message.stop_reason or "", error)
    cells = [
        *_cells_of_upload(row, context),
        *map(without_formula, texts),
        *("" if count is None else str(count) for count in (usage.input_tokens, usage.output_tokens)),
        *_cells_of_answer(answer, _properties(context)),
    ]  # fmt: skip
    yield PATH, csv_line(cells)


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
        return _result.decode(result)
    except UNREADABLE_JSON:
        return _Result(read_result(result).type, error=_Error(_UNKNOWN_FORM))


def _cells_of_upload(row: ExportRow, context: ExportContext) -> list[str]:
    if not context.columns:
        return [str(row.row), _cell(row.custom_id)]
    record = _object.decode(row.record or b"{}")
    return [_cell(record.get(column, b"null")) for column in context.columns]


def _cells_of_answer(answer: str, properties: list[str]) -> list[str]:
    """Return the properties of an answer in JSON. They are empty if it is refused, cut off or not an object."""
    try:
        values = _object.decode(answer) if properties else {}
    except UNREADABLE_JSON:
        values = {}
    return [_guarded_cell(values.get(name, b"null")) for name in properties]


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
