"""results.csv: a table comes back as it was, with the answers after it."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.exports import results_csv
from functions.exports.contract import Export, ExportContext, ExportRow, JobSummary
from functions.readers import delimited
from tests.unit.uploads import Upload

ADDED = ["answer", "status", "stop_reason", "error", "input_tokens", "output_tokens"]
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"type": "string"},
        "score": {"type": "number"},
        "sure": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}

_names = st.lists(st.text("abé \"';\n", min_size=1, max_size=4), min_size=1, max_size=4)
_headers = _names.filter(lambda names: len({name.strip() for name in names} - {""}) == len(names))
_cells = st.text("a1 =+-@\"',;|\t\r\né\N{GRINNING FACE}", max_size=6)
_tables = _headers.flatmap(
    lambda names: st.tuples(
        st.just(names), st.lists(st.lists(_cells, min_size=len(names), max_size=len(names)))
    )
)


def succeeded(*texts: str, **members: Any) -> dict[str, Any]:
    content = [
        {"type": "thinking", "text": "hm"},
        *({"type": "text", "text": text} for text in texts),
    ]
    usage = {"input_tokens": 12, "output_tokens": 34}
    message = {"content": content, "stop_reason": "end_turn", "usage": usage, **members}
    return {"type": "succeeded", "message": message}


def export_rows(
    context: ExportContext, rows: Sequence[tuple[bytes | None, dict[str, Any]]]
) -> bytes:
    export: Export = results_csv
    (path,) = export.paths(context)
    file = export.head(path, context)
    for number, (record, result) in enumerate(rows, 1):
        row = ExportRow("job", number, b'"my id"', msgspec.json.encode(result), record, 0)
        for name, line in export.lines(row, context):
            assert name == path == "results.csv"
            file += line
    return file


def parsed(file: bytes) -> list[list[str]]:
    assert file.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(file.decode("utf-8-sig"), newline=""), strict=True))


def added_cells(result: dict[str, Any], schema: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the cells that a result adds to a row."""
    context = ExportContext(name="t.csv", columns=["text"], schema=schema)
    header, cells = parsed(export_rows(context, [(b'{"text":"hi"}', result)]))
    assert (header[0], cells[0]) == ("text", "hi")
    return dict(zip(header[1:], cells[1:], strict=True))


@given(_tables)
def test_a_table_comes_back_as_it_was(named: tuple[list[str], list[list[str]]]) -> None:
    names, rows = named
    upload = io.StringIO()
    writer = csv.writer(upload, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    found = list(delimited.read(Upload(upload.getvalue().encode()), delimited.START, 1 << 20))
    columns = [name.strip() for name in names]
    context = ExportContext(name="t.csv", columns=columns)

    header, *lines = parsed(
        export_rows(context, [(record.data, succeeded("=1")) for record in found])
    )

    assert header == columns + ADDED
    assert [line[: len(names)] for line in lines] == rows
    assert all(
        line[len(names) :] == ["'=1", "succeeded", "end_turn", "", "12", "34"] for line in lines
    )


def test_an_upload_without_columns_has_the_row_and_the_custom_id() -> None:
    context = ExportContext(name="t.jsonl")
    header, first, second = parsed(
        export_rows(context, [(b"{}", succeeded("Yes")), (None, {"type": "expired"})])
    )

    assert header == ["row", "custom_id", *ADDED]
    assert first == ["1", "my id", "Yes", "succeeded", "end_turn", "", "12", "34"]
    assert second == ["2", "my id", "", "expired", "", "", "", ""]


@pytest.mark.parametrize(
    ("custom_id", "expected"),
    [(b'"=a"', "=a"), (b"null", ""), (b"17", "17"), (b'"\\ud83d"', '"\\ud83d"')],
)
def test_a_custom_id_of_any_kind_is_a_cell(custom_id: bytes, expected: str) -> None:
    row = ExportRow("job", 1, custom_id, b'{"type":"canceled"}', None, 0)
    ((_, line),) = results_csv.lines(row, ExportContext(name="t.jsonl"))

    assert next(csv.reader([line.decode()]))[1] == expected


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (succeeded("Dear ", "Ada"), {"answer": "Dear Ada", "status": "succeeded", "stop_reason": "end_turn"}),
        (succeeded("a", stop_reason="max_tokens"), {"answer": "a", "stop_reason": "max_tokens"}),
        (succeeded(), {"answer": "", "input_tokens": "12", "output_tokens": "34"}),
        ({"type": "expired"}, {"status": "expired", "error": ""}),
        ({"type": "canceled"}, {"status": "canceled", "error": ""}),
        ({"type": "rejected", "error": {"code": "ragged_row", "message": "line 2: the row has 1 of 2 cells", "line": 2}},
         {"status": "rejected", "error": "line 2: the row has 1 of 2 cells"}),
        ({"type": "errored", "error": {"type": "error", "request_id": None, "error": {"type": "api_error", "message": "Oh no"}}},
         {"status": "errored", "error": "Oh no"}),
        ({"type": "succeeded", "message": {"content": "of a later API"}},
         {"answer": "", "status": "succeeded", "error": "the result has an unknown form; see results.jsonl"}),
    ],
)  # fmt: skip
def test_each_outcome_fills_its_columns(result: dict[str, Any], expected: dict[str, str]) -> None:
    cells = added_cells(result)

    assert list(cells) == ADDED
    assert {name: cells[name] for name in expected} == expected


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_text_that_is_no_formula_is_not_made_one(start: str) -> None:
    answer = msgspec.json.encode({"label": f"{start}1", "score": -1}).decode()
    cells = added_cells(succeeded(answer), SCHEMA)
    error = {"type": "rejected", "error": {"code": "c", "message": f"{start}2", "line": 1}}

    assert (cells["label"], cells["score"]) == (f"'{start}1", "-1")
    assert added_cells(succeeded(f"{start}HYPERLINK()"))["answer"] == f"'{start}HYPERLINK()"
    assert added_cells(error)["error"] == f"'{start}2"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ('{"label":"bug","score":1.50,"sure":true,"tags":["a", "b"]}', ["bug", "1.50", "true", '["a", "b"]']),
        ('{"score":null,"other":1,"label":""}', ["", "", "", ""]),
        ('{"label":"bug', ["", "", "", ""]),
        ("I cannot help with that.", ["", "", "", ""]),
        ("[1]", ["", "", "", ""]),
        ("", ["", "", "", ""]),
    ],
)  # fmt: skip
def test_each_property_of_the_answer_is_a_column(answer: str, expected: list[str]) -> None:
    cells = added_cells(succeeded(answer), SCHEMA)

    assert list(cells) == [*ADDED, "label", "score", "sure", "tags"]
    assert list(cells.values())[len(ADDED) :] == expected
    assert cells["answer"] == answer


@pytest.mark.parametrize("schema", [{}, {"type": "string"}, {"properties": []}, {"anyOf": []}])
def test_a_schema_without_properties_adds_no_columns(schema: dict[str, Any]) -> None:
    assert list(added_cells(succeeded("1"), schema)) == ADDED


def test_a_name_that_the_upload_has_gets_a_suffix() -> None:
    columns = ["Answer", "error", "error_claude"]
    schema: dict[str, Any] = {"properties": {"status": {}, "label": {}}}
    (header,) = parsed(export_rows(ExportContext(name="t", columns=columns, schema=schema), []))

    assert header[3:] == [
        "answer_claude", "status", "stop_reason", "error_claude_claude", "input_tokens", "output_tokens",
        "status_claude", "label",
    ]  # fmt: skip


def test_a_row_that_cannot_be_read_again_keeps_its_place() -> None:
    context = ExportContext(name="t.csv", columns=["a", "b"])
    rejected = {"type": "rejected", "error": {"code": "c", "message": "line 3: m", "line": 3}}
    _, *lines = parsed(
        export_rows(context, [(b'{"a":"1","b":"2"}', succeeded("x")), (None, rejected)])
    )

    assert [line[:4] for line in lines] == [["1", "2", "x", "succeeded"], ["", "", "", "rejected"]]


def test_there_are_no_closing_files() -> None:
    summary = JobSummary(
        job="j", outcome="succeeded", outcomes={}, usage={}, times={}, files={}, upload="s3://u/t.csv"
    )  # fmt: skip

    assert results_csv.closing(summary, ExportContext(name="t.csv")) == {}


HARD = [
    ["plain", "1", "Yes"],
    ['say "hi", she said', "2", "Line one\nline two\r\nline three"],
    ["=1+1", "-3", "- first\n- second"],
    ["é \N{GRINNING FACE}", "", "a,b;c\td"],
    [" spaces ", "0", ""],
]
"""Two cells of the upload and the answer of each row."""


@pytest.fixture
def hard_file(tmp_path: Path) -> Path:
    context = ExportContext(name="t.csv", columns=["text", "number"], schema=SCHEMA)
    rows = [
        (msgspec.json.encode({"text": text, "number": number}), succeeded(answer))
        for text, number, answer in HARD
    ]
    path = tmp_path / "results.csv"
    path.write_bytes(export_rows(context, rows))
    return path


def guarded(cells: Sequence[str]) -> list[str]:
    *upload, answer = cells
    return [*upload, f"'{answer}" if answer.startswith("-") else answer]


def test_pandas_reads_it(hard_file: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(hard_file, dtype=str, keep_default_na=False)

    assert list(frame.columns) == ["text", "number", *ADDED, *SCHEMA["properties"]]
    assert frame[["text", "number", "answer"]].to_numpy().tolist() == [*map(guarded, HARD)]


def test_polars_reads_it(hard_file: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_csv(hard_file, infer_schema=False, empty_string_is_null=False)

    assert frame.columns == ["text", "number", *ADDED, *SCHEMA["properties"]]
    rows = [list(row) for row in frame.select("text", "number", "answer").rows()]
    assert rows == [*map(guarded, HARD)]


def test_duckdb_reads_it(hard_file: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    table = duckdb.sql(
        "SELECT text, number, answer FROM read_csv(?, all_varchar = true, nullstr = 'none')",
        params=[str(hard_file)],
    )  # fmt: skip

    assert [list(row) for row in table.fetchall()] == [*map(guarded, HARD)]
