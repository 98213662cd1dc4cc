"""`outputs = ["parquet"]`: the upload's own columns and types, then the answers."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from functions.assembling import results_parquet
from functions.errors import RelayError
from functions.exports.parquet_writer import Task
from functions.readers import parquet as reader
from tests.harness import Harness
from tests.unit.parquet_files import parquet_file

TEMPLATE = """
outputs = ["csv", "parquet"]
[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-5-5"
max_tokens = 4096
messages = [{ role = "user", content = "{{text}}" }]
"""
ADDED = [
    ("answer", "VARCHAR"),
    ("status", "VARCHAR"),
    ("stop_reason", "VARCHAR"),
    ("error", "VARCHAR"),
    ("input_tokens", "BIGINT"),
    ("output_tokens", "BIGINT"),
]
TYPED = parquet_file("""
    SELECT i AS id, CASE WHEN i = 2 THEN '[fate:invalid_request_error]' ELSE 'größe ' || i END AS text,
        CASE WHEN i = 3 THEN NULL WHEN i = 4 THEN '' ELSE 'x' END AS maybe, i::DECIMAL(9, 2) AS price,
        TIMESTAMP '2026-01-02 03:04:05' AS at, {'a': [i]} AS nested, 'mine' AS "Answer"
    FROM range(1, 6) t(i)
""")


LONG = "md5(i::VARCHAR) || repeat('x', {})"


@pytest.fixture
def results(tmp_path: Path) -> Any:
    """Return a function that opens results.parquet of an upload."""

    def open_results(relay: Harness, key: str) -> duckdb.DuckDBPyRelation:
        path = tmp_path / "results.parquet"
        path.write_bytes(relay.read(key, "results.parquet"))
        return duckdb.read_parquet(str(path))

    return open_results


def types_of(relation: duckdb.DuckDBPyRelation) -> list[tuple[str, str]]:
    return [*zip(relation.columns, map(str, relation.types), strict=True)]


def finish(relay: Harness, key: str, body: bytes, template: str = TEMPLATE) -> dict[str, Any]:
    relay.deploy(requests_per_batch=2)
    relay.upload("in/_relay.toml", template.encode())
    relay.upload(key, body)
    relay.finish()
    manifest: dict[str, Any] = relay.manifest(key)
    return manifest


def test_parquet_comes_back_with_its_columns_types_and_values(
    relay: Harness, results: Any, tmp_path: Path
) -> None:
    manifest = finish(relay, "in/a.parquet", TYPED)

    (tmp_path / "upload.parquet").write_bytes(TYPED)
    uploaded = duckdb.read_parquet(str(tmp_path / "upload.parquet"))
    returned = results(relay, "in/a.parquet")
    added = [("answer_claude", "VARCHAR"), *ADDED[1:]]
    assert manifest["exports"] == {"complete": True, "reason": None}
    assert types_of(returned) == types_of(uploaded) + added
    rows = returned.fetchall()
    width = len(uploaded.columns)
    assert [row[:width] for row in rows] == uploaded.fetchall()
    assert [row[width + 1] for row in rows] == ["succeeded", "errored", *["succeeded"] * 3]
    assert [row[-1] is None for row in rows] == [False, True, False, False, False]
    assert rows[0][width]


def test_csv_comes_back_as_text_with_tokens_as_numbers(relay: Harness, results: Any) -> None:
    finish(relay, "in/a.csv", b"id,text\n01,=one\n02,\n")

    returned = results(relay, "in/a.csv")
    assert types_of(returned) == [("id", "VARCHAR"), ("text", "VARCHAR"), *ADDED]
    assert [row[:2] for row in returned.fetchall()] == [("01", "=one"), ("02", "")]
    assert relay.read("in/a.csv", "results.csv")


def test_an_upload_without_columns_gets_row_and_custom_id(relay: Harness, results: Any) -> None:
    finish(relay, "in/a.jsonl", b'{"id":"a","text":"one"}\n{"id":"b","text":"two"}\n')

    returned = results(relay, "in/a.jsonl")
    assert returned.columns[:2] == ["row", "custom_id"]
    assert [row[:2] for row in returned.fetchall()] == [("1", "a"), ("2", "b")]


def test_answers_with_a_schema_have_a_column_for_each_property(
    relay: Harness, results: Any
) -> None:
    schema = """
[request.params.output_config.format]
type = "json_schema"
[request.params.output_config.format.schema]
type = "object"
properties = { mood = { type = "string" } }
required = ["mood"]
additionalProperties = false
"""
    finish(relay, "in/a.csv", b"id,text\n1,one\n", TEMPLATE + schema)

    assert types_of(results(relay, "in/a.csv"))[-1] == ("mood", "VARCHAR")


@pytest.mark.parametrize("fault", ["too large", "process", "disk"])
def test_a_failure_never_holds_the_results_back(
    fault: str, relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    match fault:
        case "too large":
            monkeypatch.setattr(results_parquet, "MAX_BYTES", 10)
        case "process":
            monkeypatch.setattr(results_parquet, "_PROGRAM", Path("/no such program.py"))
        case _:
            monkeypatch.setattr(results_parquet, "_save", fail)

    manifest = finish(relay, "in/a.csv", b"id,text\n1,one\n")

    assert manifest["outcome"] == "succeeded"
    assert manifest["exports"]["complete"] is False
    assert manifest["exports"]["reason"]
    assert "results.csv" in manifest["files"]
    assert "results.parquet" not in manifest["files"]


def test_an_upload_that_was_replaced_is_not_mixed_with_the_answers_of_another(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced:
        def read(self) -> list[bytes]:
            return [parquet_file("SELECT 1 AS id")]

    monkeypatch.setattr(results_parquet, "source_of", lambda *_: Replaced())

    manifest = finish(relay, "in/a.parquet", TYPED)

    assert "other rows" in manifest["exports"]["reason"]
    assert "results.parquet" not in manifest["files"]


@pytest.mark.parametrize("damage", ["a damaged page", "too much memory"])
def test_a_fault_in_a_later_row_group_leaves_what_was_sent(
    damage: str, relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "WINDOW_BYTES", 1)
    long = "repeat('x', 200_000_000)" if damage == "too much memory" else "'last'"
    text = f"CASE WHEN i < 2048 THEN 'one ' || i ELSE {long} END AS text"
    body = parquet_file(
        f"SELECT i AS id, {text} FROM range(2049) t(i)",  # noqa: S608 - constants
        ", row_group_size 2048, compression zstd",
    )
    if damage == "a damaged page":
        at = body.rindex(b"\x28\xb5\x2f\xfd")  # the last page: how zstd begins
        body = body[:at] + b"\0\0\0\0" + body[at + 4 :]
    relay.deploy(requests_per_batch=1000)
    relay.upload("in/_relay.toml", TEMPLATE.replace('"csv", "parquet"', '"csv"').encode())

    relay.upload("in/a.parquet", body)
    relay.finish()

    manifest = relay.manifest("in/a.parquet")
    sentence = (
        "more than 300 MB of memory" if "memory" in damage else "no Parquet file, or damaged"
    )
    assert manifest["outcome"] == "failed"  # as for any upload that cannot be read to its end
    assert sentence in manifest["reason"]
    lines = relay.read("in/a.parquet", "results.jsonl").splitlines()
    assert len(lines) == manifest["counts"]["succeeded"] == 2000


def test_names_that_differ_only_by_case_stay_distinct(relay: Harness, results: Any) -> None:
    finish(relay, "in/a.csv", b"id,text,ID\n1,one,2\n")

    returned = results(relay, "in/a.csv")
    assert returned.columns[:3] == ["id", "text", "ID_1"]
    assert returned.fetchall()[0][:3] == ("1", "one", "2")


def test_a_row_of_34_mb_comes_back(relay: Harness, results: Any) -> None:
    relay.deploy(row_bytes=64_000_000)
    relay.upload("in/_relay.toml", TEMPLATE.replace("{{text}}", "short").encode())
    relay.upload("in/a.csv", b"id,text\n1," + b"x" * 34_000_000 + b"\n2,y\n")
    relay.finish()

    assert relay.manifest("in/a.csv")["exports"] == {"complete": True, "reason": None}
    returned = results(relay, "in/a.csv").fetchall()
    assert [len(row[1]) for row in returned] == [34_000_000, 1]


@pytest.mark.parametrize(
    ("columns", "rows", "sentence"),
    [
        (LONG.format(8_000), 25_000, None),
        (f"[{{'text': {LONG.format(4_000)}}}] AS turns, map(['n'], [i])", 50_000, None),
        (LONG.format(40_000), 5_000, "write it with smaller row groups"),
    ],
    ids=["text", "nested", "too large"],
)
def test_pages_may_be_as_large_as_duckdb_writes_them(
    tmp_path: Path, columns: str, rows: int, sentence: str | None
) -> None:
    """It writes pages of 100 MB, and holds two of them at once. Where that is too much, the reason says what to do."""
    files = {name: tmp_path / name for name in ("target", "lines", "upload")}
    query = f"SELECT {columns} AS last FROM range({rows}) t(i)"  # noqa: S608 - constants
    files["upload"].write_bytes(parquet_file(query, ", row_group_size 122880, compression zstd"))
    names = duckdb.read_parquet(str(files["upload"])).columns
    own = len(names)
    line = msgspec.json.encode({str(own): "yes", str(own + 1): 7}) + b"\n"
    files["lines"].write_bytes(line * rows)
    task = Task(
        target=str(files["target"]), lines=str(files["lines"]), size_bytes=200_000_000 + len(line) * rows, rows=rows,
        names=[*names, "answer", "tokens"], counts=[own + 1], upload=str(files["upload"]), own=own,
    )  # fmt: skip

    with nullcontext() if sentence is None else pytest.raises(RelayError, match=sentence):
        results_parquet._run(task)  # noqa: SLF001 - a whole job of such rows takes a minute
    if sentence is None:
        written = duckdb.read_parquet(str(files["target"]))
        assert len(written) == rows
        assert written.select("answer", "tokens").distinct().fetchall() == [("yes", 7)]
