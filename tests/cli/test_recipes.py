"""docs/recipes.md: the commands of each recipe run as they stand, against a stack in memory."""

from __future__ import annotations

import contextlib
import glob
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from openai.types.chat import ChatCompletion

from tests.cli.conftest import CommandLine, deployment_of
from tests.harness import UPLOADS, Harness, make_row, make_upload, s3_event
from tests.unit.workbooks import workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(title: str, language: str) -> list[str]:
    """Return the blocks of a recipe in a language."""
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return [match[2] for match in FENCE.finditer(section) if match[1] == language]


@dataclass
class Reader:
    """Somebody who copies the blocks of the page, in a folder with the examples."""

    stack: Harness
    delivered: set[str] = field(default_factory=set)

    def run(self, title: str) -> str:
        """Run the commands of a recipe, one by one; return what they print."""
        [commands] = blocks(title, "sh")
        return "".join(map(self._run, commands.replace("\\\n", " ").splitlines()))

    def _run(self, command: str) -> str:
        command, _, target = command.partition(" > ")
        program, *words = shlex.split(command)
        arguments = [name for word in words for name in sorted(glob.glob(word)) or [word]]  # noqa: PTH207 - as a shell does
        output = getattr(self, program.removeprefix("./"))(*arguments)
        if target:
            Path(target).write_text(output, encoding="utf-8")
        return str(output)

    def relay(self, *arguments: str) -> str:
        return CommandLine(deployment_of(self.stack))(*arguments).output

    def python3(self, *arguments: str) -> str:
        process = subprocess.run(  # noqa: S603 - a list made here
            [sys.executable, *arguments], check=True, capture_output=True, text=True
        )
        return process.stdout + process.stderr

    def cp(self, source: str, target: str) -> str:
        shutil.copy(source, target)
        return ""

    def aws(self, *arguments: str) -> str:
        """Upload a marker."""
        assert arguments[:4] == ("s3api", "put-object", "--bucket", "$(output UploadsBucket)")
        self.stack.s3.put_object(Bucket=UPLOADS, Key=arguments[-1], Body=b"")
        return ""

    def wait(self, _seconds: float) -> None:
        """Deliver the events of new uploads; let a minute pass."""
        for stored in self.stack.s3.list_object_versions(Bucket=UPLOADS).get("Versions", []):
            if stored["VersionId"] not in self.delivered:
                self.delivered.add(stored["VersionId"])
                moment = self.stack.moment.isoformat(timespec="milliseconds")
                event = s3_event(
                    UPLOADS, stored["Key"], stored["Size"], stored["VersionId"],
                    moment.replace("+00:00", "Z"),
                )  # fmt: skip
                self.stack.submit_message(event)
        self.stack.tick()


@pytest.fixture
def reader(stack: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(folder)
    reader = Reader(stack)
    monkeypatch.setattr("cli.progress.sleep", reader.wait)
    return reader


@pytest.fixture
def answer_with(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes Claude answer every request with a text."""
    return lambda text: monkeypatch.setattr("local.simulator.answers._reply", lambda _text: text)


def test_a_folder_is_summarized(reader: Reader) -> None:
    Path("notes/a").mkdir(parents=True)
    Path("notes/a/b.txt").write_text('Größe: "2 m",\nor {{more}}', encoding="utf-8")
    Path("notes/c.txt").write_text("[fate:refusal]", encoding="utf-8")

    printed = reader.run("Summarize a folder of text files")

    assert Path("notes/a/b.summary.md").read_text(encoding="utf-8") == (
        'echo: <text>Größe: "2 m",\nor {{more}}</text>'
    )
    assert not Path("notes/c.summary.md").exists()
    assert "no answer: c.txt" in printed


def test_a_spreadsheet_is_classified(reader: Reader, answer_with: Callable[[str], None]) -> None:
    cells = [["ticket_id", "body"], ["001", "I was charged twice."], ["002", "How do I log in?"]]
    Path("tickets.xlsx").write_bytes(workbook(cells))
    answer_with('{"category": "billing", "urgency": 3}')

    reader.run("Classify a spreadsheet")

    [results] = Path("results/support/tickets").glob("*/results.csv")
    table = duckdb.connect().read_csv(str(results), all_varchar=True)
    assert table.select("ticket_id, body, status, category, urgency").fetchall() == [
        ("001", "I was charged twice.", "succeeded", "billing", "3"),
        ("002", "How do I log in?", "succeeded", "billing", "3"),
    ]


def test_an_openai_pipeline_reads_the_output_as_before(reader: Reader) -> None:
    title = "Move a pipeline from OpenAI"
    [options], [code] = blocks(title, "toml"), blocks(title, "python")
    shutil.copy(EXAMPLES / "openai-batch.jsonl", "batch.jsonl")
    Path("batch.jsonl.relay.toml").write_text(options, encoding="utf-8")

    reader.run(title)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, "recipe", "exec"), {})  # noqa: S102 - the block of our own page

    requests = [json.loads(line) for line in Path("batch.jsonl").read_text("utf-8").splitlines()]
    [output] = Path("results/openai/batch").glob("*/openai/output.jsonl")
    lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    for line in lines:
        ChatCompletion.model_validate(line["response"]["body"], strict=True)
    assert len(lines) == len(requests)
    assert [line.split()[:2] for line in printed.getvalue().splitlines()] == [
        [request["custom_id"], "echo:"] for request in requests
    ]


def test_two_prompts_are_evaluated(reader: Reader) -> None:
    reader.stack.deploy(repeats="skip")
    expected = [f"ECHO: text {n}." if n % 10 else "billing" for n in range(1000)]
    rows = [f"case-{n},text {n},{answer}\n" for n, answer in enumerate(expected)]
    Path("cases.csv").write_text("case,input,expected\n" + "".join(rows), encoding="utf-8")

    printed = reader.run("Evaluate a prompt on 1,000 rows")

    scores = re.findall(r"results/evaluate/(.)/\S+: (.*)", printed)
    assert scores == [(prompt, "900 of 1000 right (90.0%)") for prompt in "ab"]
    assert printed.count("case-10: expected 'billing', got 'echo: text 10'") == 2


# -- reading results

FATES = [
    "plain", "[fate:refusal]", "[fate:max_tokens]", "[fate:always-overloaded_error]",
    "[fate:always-expired]", "[fate:invalid_request_error]", '"quoted" \\ back\u2028slash é',
    "[thinks:20] after thinking",
]  # fmt: skip
IDS: list[Any] = ["001", None, 7, {"a": [1, "ü"]}, ["x"], 'say "hi"', "001", True]
REJECTED = [b'{"custom_id": "no-params"}', b"{not json", b'{"custom_id": "e", "params": {}}']
COLUMNS = "job row custom_id outcome answer stop_reason error message input_tokens output_tokens"


def varied_upload() -> bytes:
    """Return rows with every outcome and kind of id."""
    rows = [
        json.dumps(json.loads(make_row(n, text)) | {"custom_id": custom_id}).encode()
        for n, (text, custom_id) in enumerate(zip(FATES, IDS, strict=True), 1)
    ]
    return b"\n".join([*rows, *REJECTED])


@pytest.fixture(params=[varied_upload(), make_upload(3)], ids=["every outcome", "no row failed"])
def downloaded(request: pytest.FixtureRequest, reader: Reader) -> list[tuple[object, ...]]:
    """Download the results of a job; return what their columns must hold."""
    reader.stack.upload("team/march.jsonl", request.param)
    reader.stack.finish()
    reader.relay("get", "team/march.jsonl")
    job = reader.stack.manifest("team/march.jsonl")["job"]
    return [expected_columns(job, line) for line in reader.stack.lines("team/march.jsonl")]


def expected_columns(job: str, line: dict[str, Any]) -> tuple[object, ...]:
    """Return the columns of a line, each taken out by hand."""
    custom_id, result = line["custom_id"], line["result"]
    text = custom_id if isinstance(custom_id, str | None) else as_json(custom_id)
    head = (job, line["row"], text, result["type"])
    match result:
        case {"message": {"content": content, "stop_reason": stop_reason, "usage": usage}}:
            texts = [block["text"] for block in content if block["type"] == "text"]
            tokens = (usage["input_tokens"], usage["output_tokens"])
            return (*head, "".join(texts), stop_reason, None, None, *tokens)
        case {"error": {"error": {"type": error, "message": message}}}:
            return (*head, None, None, error, message, None, None)
        case {"error": {"code": error, "message": message}}:
            return (*head, None, None, error, message, None, None)
    return (*head, *[None] * 6)


def as_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def test_the_sample_has_every_outcome(downloaded: list[tuple[object, ...]]) -> None:
    outcomes = {row[3] for row in downloaded}

    assert outcomes in ({"succeeded"}, {"succeeded", "errored", "expired", "rejected"})


def test_duckdb_reads_results(downloaded: list[tuple[object, ...]]) -> None:
    database = duckdb.connect()
    database.execute((EXAMPLES / "query" / "duckdb.sql").read_text("utf-8"))

    table = database.sql('select * from answers order by "row"')

    assert table.columns == COLUMNS.split()
    assert table.fetchall() == downloaded
    [query] = blocks("Read results in DuckDB", "sql")
    counted = database.sql(query).fetchall()
    assert sum(rows for _, _, rows, _ in counted) == len(downloaded)


def test_the_columns_for_pandas_are_those_of_duckdb(
    downloaded: list[tuple[object, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "query")
    module: Any = importlib.import_module("answers")
    [file] = Path("results").rglob("results.jsonl")

    rows = [*module.answers(file)]

    assert {tuple(row) for row in rows} == {tuple(module.COLUMNS)} == {tuple(COLUMNS.split())}
    for row in rows:
        if not isinstance(row["custom_id"], str | None):
            row["custom_id"] = as_json(row["custom_id"])
    assert [tuple(row.values()) for row in rows] == downloaded


ATHENA = """
set lambda_syntax = 'ENABLE_SINGLE_ARROW';
create macro extract_json(line, path) as case when json_valid(line) then json_extract(line, path) end;
create macro json_extract_scalar(line, path) as
  case when json_valid(line) and json_type(line, path) not in ('OBJECT', 'ARRAY', 'NULL')
  then json_extract_string(line, path) end;
create macro json_format(value) as cast(value as varchar);
create macro array_join(texts, separator) as array_to_string(texts, separator);
"""
"""Functions of Athena for DuckDB: text that is not JSON has no members, and a scalar is no object or array."""
IN_DUCKDB = {
    r"\bfilter\(": "list_filter(",
    r"\btransform\(": "list_transform(",
    r"\bjson_extract\(": "extract_json(",
    r"\barray\(json\)": "json[]",
}
"""Functions and types of Athena that have another name in DuckDB."""


def test_athena_reads_results(downloaded: list[tuple[object, ...]]) -> None:
    """The folder has files that are not results.jsonl, and Athena reads those, too."""
    [folder] = Path("results/team/march").iterdir()
    assert {"results.jsonl", "manifest.json", "report.html"} <= {p.name for p in folder.iterdir()}
    view = (EXAMPLES / "query" / "athena-view.sql").read_text("utf-8")
    for athena, own in IN_DUCKDB.items():
        view, count = re.subn(athena, own, view)
        assert count > 0
    database = duckdb.connect()
    database.execute(ATHENA)
    database.execute('create table relay_lines (line varchar, "$path" varchar)')
    database.executemany("insert into relay_lines values (?, ?)", [*lines_below(folder)])

    database.execute(view)

    answers = database.sql('select * from relay_answers order by "row"')
    assert answers.columns == COLUMNS.split()
    assert answers.fetchall() == downloaded


def lines_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of each file with its path, as the table in Athena has them."""
    for file in filter(Path.is_file, folder.rglob("*")):
        for line in file.read_bytes().removesuffix(b"\n").split(b"\n"):
            yield line.decode(), f"s3://results/{file}"


def test_the_table_in_athena_has_lines_as_they_are() -> None:
    """Without an escape character, and with a delimiter that JSON cannot have."""
    table = (EXAMPLES / "query" / "athena-table.sql").read_text("utf-8")

    assert table == (
        "CREATE EXTERNAL TABLE relay_lines (line string)\n"
        r"ROW FORMAT DELIMITED FIELDS TERMINATED BY '\001' LINES TERMINATED BY '\n'"
        "\n"
        "LOCATION 's3://RESULTS/results/'\n"
    )
