"""results.csv and results.parquet open in the programs that people have, and each cell comes out as it was written.

`make programs` installs pandas, polars and DuckDB, and runs this file. LibreOffice is asked where it is installed.
"""

import csv
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from functions.exports.contract import ExportContext
from tests.cli.test_recipes import EXAMPLES, as_json, blocks, varied_upload
from tests.harness import Harness, make_upload
from tests.unit.test_results_csv import export_rows, succeeded

COLUMNS = ("id", "text", "größe")
ADDED = ("answer", "status", "stop_reason", "error", "input_tokens", "output_tokens")
CELLS = [
    ("001", 'She said "no", then; left', "é \N{GRINNING FACE} 日本"),
    ("0x1F", "two\nlines", ""),
    ("+49 30", "=1+1", " padded "),
    ("1e5", "NULL", "nan"),
    ("2026-11-02", "a\tb|c", "'x'"),
]
REFUSED = {"type": "error", "error": {"type": "invalid_request_error", "message": '@no, "sorry"'}}
ANSWERS = [
    (succeeded('=HYPERLINK("http://x")'), '\'=HYPERLINK("http://x")'),
    (succeeded('one\r\ntwo, "three"'), 'one\r\ntwo, "three"'),
    (succeeded("-5 °C"), "'-5 °C"),
    ({"type": "errored", "error": REFUSED}, ""),
    (succeeded("Ω\ttab\n\nend"), "Ω\ttab\n\nend"),
]
"""Results, and the cell of the answer: a formula has an apostrophe in front."""

type Table = list[list[str]]


def answer_cells(number: int) -> list[str]:
    result, answer = ANSWERS[number]
    if result["type"] == "errored":
        return [answer, "errored", "", '\'@no, "sorry"', "", ""]
    return [answer, "succeeded", "end_turn", "", "12", "34"]


EXPECTED = [
    [*COLUMNS, *ADDED],
    *([*cells, *answer_cells(number)] for number, cells in enumerate(CELLS)),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A results.csv of a table."""
    records = [msgspec.json.encode(dict(zip(COLUMNS, cells, strict=True))) for cells in CELLS]
    rows = [(record, result) for record, (result, _) in zip(records, ANSWERS, strict=True)]
    path = tmp_path / "results.csv"
    path.write_bytes(export_rows(ExportContext(name="a.csv", columns=COLUMNS), rows))
    return path


def read_with_csv(path: Path) -> Table:
    """Read with the module of Python."""
    return [*csv.reader(io.StringIO(path.read_text("utf-8-sig", newline=""), newline=""))]


def read_with_pandas(path: Path) -> Table:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: make programs")
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    return [list(frame.columns), *frame.to_numpy().tolist()]


def read_with_polars(path: Path) -> Table:
    polars = pytest.importorskip("polars", reason="polars is not installed: make programs")
    frame = polars.read_csv(path, infer_schema=False, empty_string_is_null=False)
    return [frame.columns, *map(list, frame.rows())]


def read_with_duckdb(path: Path) -> Table:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: make programs")
    table = duckdb.connect().read_csv(str(path), all_varchar=True)
    return [list(table.columns), *([cell or "" for cell in row] for row in table.fetchall())]


@pytest.mark.parametrize(
    "read", [read_with_csv, read_with_pandas, read_with_polars, read_with_duckdb]
)
def test_each_cell_comes_out_as_it_was_written(read: Callable[[Path], Table], file: Path) -> None:
    assert read(file) == EXPECTED


def test_pandas_needs_no_options(file: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: make programs")

    frame = pandas.read_csv(file)

    assert list(frame.columns) == EXPECTED[0]
    assert frame["output_tokens"].sum() == 4 * 34


def test_duckdb_needs_no_options(file: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: make programs")

    query = "select status, count(*), sum(output_tokens) from read_csv(?) group by 1 order by 1"
    rows = duckdb.connect().execute(query, [str(file)]).fetchall()

    assert rows == [("errored", 1, None), ("succeeded", 4, 4 * 34)]


def test_libreoffice_takes_no_answer_for_a_formula(file: Path, tmp_path: Path) -> None:
    """The columns of the upload are imported as text, those with answers as LibreOffice guesses them."""
    soffice = shutil.which("soffice")
    if soffice is None:
        pytest.skip("LibreOffice is not installed")
    utf8, as_shown = 76, "44,34,76,1,,0,false,true,false"
    own = "/".join(f"{number}/2" for number in range(1, len(COLUMNS) + 1))
    command = [
        soffice,
        f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}",
        "--headless",
        f"--infilter=Text - txt - csv (StarCalc):44,34,{utf8},1,{own}",
        "--convert-to",
        f"csv:Text - txt - csv (StarCalc):{as_shown}",
        "--outdir",
        str(tmp_path / "out"),
        str(file),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 - a list made here

    shown = [[cell.replace("\r\n", "\n") for cell in row] for row in EXPECTED]
    assert read_with_csv(tmp_path / "out" / "results.csv") == shown


@pytest.fixture
def parquet(relay: Harness, tmp_path: Path) -> Path:
    """A results.parquet of a CSV table."""
    template = """
outputs = ["parquet"]
[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-4-5"
max_tokens = 4096
messages = [{ role = "user", content = "hi" }]
"""
    upload = io.StringIO(newline="")
    csv.writer(upload).writerows([COLUMNS, *CELLS])
    relay.upload("in/_relay.toml", template.encode())
    relay.upload("in/a.csv", upload.getvalue().encode())
    relay.finish()
    path = tmp_path / "results.parquet"
    path.write_bytes(relay.read("in/a.csv", "results.parquet"))
    return path


type TypedTable = tuple[list[str], list[tuple[object, ...]]]


def parquet_with_pandas(path: Path) -> TypedTable:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: make programs")
    pytest.importorskip(
        "pyarrow", reason="pandas reads Parquet with pyarrow, which is not installed"
    )
    frame = pandas.read_parquet(path, engine="pyarrow")
    return [*frame.columns], [*frame.itertuples(index=False, name=None)]


def parquet_with_polars(path: Path) -> TypedTable:
    polars = pytest.importorskip("polars", reason="polars is not installed: make programs")
    frame = polars.read_parquet(path)
    return frame.columns, frame.rows()


def parquet_with_duckdb(path: Path) -> TypedTable:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed: make programs")
    table = duckdb.connect().read_parquet(str(path))
    return table.columns, table.fetchall()


@pytest.mark.parametrize("read", [parquet_with_pandas, parquet_with_polars, parquet_with_duckdb])
def test_parquet_comes_out_with_its_cells_and_numbers(
    read: Callable[[Path], TypedTable], parquet: Path
) -> None:
    columns, rows = read(parquet)

    width = len(COLUMNS)
    assert columns == EXPECTED[0]
    assert [row[:width] for row in rows] == CELLS
    assert all(row[width] and row[width + 1] == "succeeded" for row in rows)
    assert all(isinstance(count, int) and count > 0 for row in rows for count in row[-2:])


@pytest.mark.parametrize(
    "body", [varied_upload(), make_upload(3)], ids=["every outcome", "no row failed"]
)
def test_pandas_reads_results(
    body: bytes, relay: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block of docs/recipes.md keeps ids and texts as they are, and has all columns."""
    pytest.importorskip("pandas", reason="pandas is not installed: make programs")
    relay.upload("march.jsonl", body)
    relay.finish()
    (tmp_path / "results" / "march").mkdir(parents=True)
    (tmp_path / "results" / "march" / "results.jsonl").write_bytes(
        relay.read("march.jsonl", "results.jsonl")
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES / "query")
    names: dict[str, Any] = {}

    exec(blocks("Read results in pandas", "python")[0], names)  # noqa: S102 - the block of our own page

    frame = names["frame"]
    assert list(frame.columns) == names["COLUMNS"]
    lines = relay.lines("march.jsonl")
    assert [*map(as_json, frame["custom_id"])] == [as_json(line["custom_id"]) for line in lines]
    assert list(frame["outcome"]) == [line["result"]["type"] for line in lines]
    assert [bool(text) for text in frame["message"].fillna("")] == [
        "error" in line["result"] for line in lines
    ]
    messages = [line["result"]["message"] for line in lines if "message" in line["result"]]
    tokens = sum(message["usage"]["output_tokens"] for message in messages)
    assert frame["output_tokens"].sum() == tokens
