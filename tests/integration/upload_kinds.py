"""Uploads of every kind that is read, and the table of them in docs/formats.md.

>>> python -m tests.integration.upload_kinds  # rewrite the table
"""

import bz2
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from functions.readers.detect import detect
from tests.unit.parquet_files import parquet_file
from tests.unit.uploads import Upload
from tests.unit.workbooks import workbook

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
ROWS = 5
_TABLE = re.compile(r"(<!-- table: [^\n]*-->\n).*?(<!-- end of table -->)", re.DOTALL)
FAILING_ROW = 2
_TEMPLATE = """
[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-5-5"
max_tokens = 4096
messages = [{ role = "user", content = "<t>{{text}}</t>" }]
"""
_MODELS = 'models = { "*" = "claude-haiku-5-5" }'


@dataclass(frozen=True)
class Kind:
    """One kind of upload.

    Attributes:
        name: what it is, for the table.
        key: the file name of the example.
        body: the example, with `ROWS` rows.
        options: the options file beside it; empty for none.
        exports: the files beside results.jsonl, by their paths.
        readers: the programs that read these files.
    """

    name: str
    key: str
    body: bytes
    options: str = ""
    exports: tuple[str, ...] = ()
    readers: str = "anything that reads JSON Lines"


def _text(number: int) -> str:
    """Return the prompt of a row. The simulator fails one of them."""
    return f"größe {number}" + " [fate:invalid_request_error]" * (number == FAILING_ROW)


def _messages(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": _text(number)}]


def native(number: int) -> dict[str, Any]:
    """Return a request of the Message Batches API."""
    params = {"model": "claude-haiku-5-5", "max_tokens": 4096, "messages": _messages(number)}
    return {"custom_id": f"row-{number}", "params": params}


def _lines(row: Callable[[int], dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row(number)).encode() + b"\n" for number in range(1, ROWS + 1))


def _record(number: int) -> dict[str, Any]:
    return {"id": f"row-{number}", "text": _text(number)}


def _table(delimiter: str) -> str:
    rows = [delimiter.join(map(str, _record(number).values())) for number in range(1, ROWS + 1)]
    return "\r\n".join([delimiter.join(_record(1)), *rows]) + "\r\n"


def _workbook() -> bytes:
    rows = [[*_record(1)], *([*_record(number).values()] for number in range(1, ROWS + 1))]
    return workbook(rows)


def _parquet() -> bytes:
    rows = json.dumps([_record(number) for number in range(1, ROWS + 1)])
    query = """SELECT unnest(from_json($$ROWS$$, '[{"id": "VARCHAR", "text": "VARCHAR"}]'), recursive := true)"""
    return parquet_file(query.replace("ROWS", rows))


def _chat(number: int) -> dict[str, Any]:
    body = {"model": "gpt-4o", "messages": _messages(number), "temperature": 0.5}
    url = "/v1/chat/completions"
    return {"custom_id": f"row-{number}", "method": "POST", "url": url, "body": body}


def _response(number: int) -> dict[str, Any]:
    body = {"model": "gpt-4o", "input": _text(number), "max_output_tokens": 4096}
    return {"custom_id": f"row-{number}", "method": "POST", "url": "/v1/responses", "body": body}


def _bedrock(number: int) -> dict[str, Any]:
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 4096,
        "messages": _messages(number),
    }
    return {"recordId": f"ROW{number:08}", "modelInput": body}


def _vertex(number: int) -> dict[str, Any]:
    body = {
        "anthropic_version": "vertex-2023-10-16",
        "max_tokens": 4096,
        "messages": _messages(number),
    }
    return {"custom_id": f"row-{number}", "request": body}


_NATIVE = [native(number) for number in range(1, ROWS + 1)]
_CSV = ("results.csv",)
_OPENAI = ("openai/output.jsonl", "openai/error.jsonl", "openai/batch.json")
_SPREADSHEETS = "Excel, LibreOffice, pandas, polars, DuckDB"
KINDS = [
    Kind("requests, one a line", "a.jsonl", _lines(native)),
    Kind("requests as a JSON array", "a.json", json.dumps(_NATIVE, indent=2).encode()),
    Kind('the API\'s `{"requests": […]}`', "b.json", json.dumps({"requests": _NATIVE}).encode()),
    Kind(
        "objects over several lines",
        "c.json",
        "\n".join(json.dumps(request, indent=2) for request in _NATIVE).encode(),
    ),
    Kind("gzip of any of these", "a.jsonl.gz", gzip.compress(_lines(native))),
    Kind("zstd", "a.jsonl.zst", zstandard.compress(_lines(native))),
    Kind("bzip2", "a.jsonl.bz2", bz2.compress(_lines(native))),
    Kind("UTF-16", "utf16.jsonl", _lines(native).decode().encode("utf-16")),
    Kind("records, with a template", "records.jsonl", _lines(_record), _TEMPLATE),
    Kind("CSV", "a.csv", _table(",").encode(), _TEMPLATE, _CSV, _SPREADSHEETS),
    Kind(
        "CSV of Excel (`;`, cp1252)",
        "excel.csv",
        _table(";").encode("cp1252"),
        _TEMPLATE,
        _CSV,
        _SPREADSHEETS,
    ),
    Kind("TSV", "a.tsv", _table("\t").encode("utf-8-sig"), _TEMPLATE, _CSV, _SPREADSHEETS),
    Kind("Excel workbook", "a.xlsx", _workbook(), _TEMPLATE, _CSV, _SPREADSHEETS),
    Kind("Parquet", "a.parquet", _parquet(), _TEMPLATE, _CSV, _SPREADSHEETS),
    Kind(
        "compressed CSV",
        "a.csv.gz",
        gzip.compress(_table(",").encode()),
        _TEMPLATE,
        _CSV,
        _SPREADSHEETS,
    ),
    Kind(
        "OpenAI batch, chat completions",
        "chat.jsonl",
        _lines(_chat),
        _MODELS,
        _OPENAI,
        "code for OpenAI's Batch API",
    ),
    Kind(
        "OpenAI batch, responses",
        "responses.jsonl",
        _lines(_response),
        _MODELS,
        _OPENAI,
        "code for OpenAI's Batch API",
    ),
    Kind(
        "Bedrock batch inference",
        "bedrock.jsonl",
        _lines(_bedrock),
        _MODELS,
        ("bedrock/bedrock.jsonl.out", "bedrock/manifest.json.out"),
        "code for Bedrock's batch output",
    ),
    Kind("Vertex AI batch", "vertex.jsonl", _lines(_vertex), _MODELS),
]


def table() -> str:
    """Return the table of docs/formats.md."""
    head = "| upload | example | needs | resumes | results beside `results.jsonl` | read by |"
    lines = [head, "|---|---|---|---|---|---|"]
    for kind in KINDS:
        needs = {"": "", _TEMPLATE: "a template", _MODELS: "`models`"}[kind.options]
        exports = ", ".join(f"`{path}`" for path in kind.exports)
        readers = kind.readers if kind.exports else ""
        resumes = _where_reading_resumes(kind)
        lines.append(
            f"| {kind.name} | `{kind.key}` | {needs} | {resumes} | {exports} | {readers} |"
        )
    return "\n".join(lines) + "\n"


def _where_reading_resumes(kind: Kind) -> str:
    upload_format = detect(Upload(kind.body), kind.key)
    is_plain = upload_format.container is None and upload_format.encoding == "utf-8"
    return (
        "at any row"
        if is_plain and upload_format.reader != "xlsx"
        else "at any row, read again up to it"
    )


def page_with_table() -> str:
    """Return docs/formats.md with the table as it should be."""
    return _TABLE.sub(lambda match: match[1] + table() + match[2], PAGE.read_text("utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page_with_table(), "utf-8")
