"""Uploads of other kinds run as they are, and their results come back in the shape of their own tools."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from openai.types import Batch

from functions.adapters.options_files import load_options, save_options
from functions.model.options import Options
from functions.model.upload_events import MAX_PROBLEM_CHARS
from functions.planning import plan
from tests.harness import Harness, make_row
from tests.integration.upload_kinds import FAILING_ROW, KINDS, PAGE, ROWS, Kind, page_with_table
from tests.unit.factories import job as make_job
from tests.unit.workbooks import VISIBLE, workbook

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.exists(), reason="the sample data is not available")
TEMPLATE = """
[request]
custom_id = "{{id}}"
[request.params]
model = "claude-haiku-5-5"
max_tokens = 64
messages = [{ role = "user", content = "<t>{{text}}</t>" }]
"""


ODD = {
    "array-over-lines-runs-its-last-row--array": ["", "", "", ""],
    "array-over-lines-runs-its-last-row--pretty": ["", "", ""],
    "array-over-lines-runs-its-last-row--requests": ["", "", "", ""],
    "array-over-lines-runs-its-last-row--trailing_commas": ["", "", "", ""],
    "id-under-another-name--rows": ["", ""],
    "invisible-characters--dos": ["", ""],
    "invisible-characters--joined": ["", "", "", ""],
    "invisible-characters--nan": [
        "",
        "line 2: not valid JSON: NaN at column 143 is not a JSON number; remove it or use null",
    ],
    "invisible-characters--pasted": [
        "line 1: not valid JSON: U+200B (zero width space) at column 1; JSON allows only plain spaces there",
        "line 2: not valid JSON: U+00A0 (no-break space) at column 128; JSON allows only plain spaces there",
    ],
    "sdk-arguments-in-params--rows": [
        'line 1: "betas" is an SDK argument that the API refuses in "params"; remove it',
        'line 2: "extra_body" is an SDK argument that the API refuses in "params"; move its members into "params"',
        'line 3: "extra_headers" is an SDK argument that the API refuses in "params"; remove it',
    ],
}
"""Files that people really uploaded: the sentence about each row; empty where it is answered."""


def rows_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@needs_samples
def test_bedrock_records_run_and_come_back_as_bedrock_writes_them(relay: Harness) -> None:
    body = (SAMPLES / "bedrock-records.jsonl").read_bytes()
    uploaded = [json.loads(line) for line in body.splitlines() if line.strip()]
    relay.upload("in/_relay.toml", b'models = { "*" = "claude-haiku-5-5" }')
    relay.upload("in/bedrock.jsonl", body)

    relay.finish()

    exported = rows_of(relay.read("in/bedrock.jsonl", "bedrock/bedrock.jsonl.out").decode())
    totals = json.loads(relay.read("in/bedrock.jsonl", "bedrock/manifest.json.out"))
    assert [line["recordId"] for line in exported] == [row["recordId"] for row in uploaded]
    assert [line["modelInput"] for line in exported] == [row["modelInput"] for row in uploaded]
    assert all(line["modelOutput"]["type"] == "message" for line in exported)
    assert totals["successRecordCount"] == len(uploaded)
    manifest = relay.manifest("in/bedrock.jsonl")
    assert manifest["row_kind"] == "bedrock"
    assert [file["uri"] for file in manifest["options"]] == ["s3://uploads/in/_relay.toml"]
    assert "bedrock/bedrock.jsonl.out" in manifest["files"]


@needs_samples
def test_odd_files_are_answered_or_rejected_with_a_reason(relay: Harness) -> None:
    for name in ODD:
        relay.upload(f"in/{name}.jsonl", (SAMPLES / "odd" / f"{name}.jsonl").read_bytes())
    relay.finish()

    assert {path.stem for path in (SAMPLES / "odd").iterdir()} == {*ODD}
    for name, sentences in ODD.items():
        lines = relay.lines(f"in/{name}.jsonl")
        errors = [line["result"].get("error", {}).get("message", "") for line in lines]
        outcomes = [line["result"]["type"] for line in lines]
        assert errors == sentences, name
        assert outcomes == ["rejected" if sentence else "succeeded" for sentence in sentences]
        assert all(line["custom_id"] for line in lines)


def test_records_wait_for_a_template_and_start_when_it_arrives(relay: Harness) -> None:
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n{"id":"b","text":"two"}\n')
    relay.tick()
    (waiting,) = relay.events()
    assert waiting["type"] == "job.waiting"
    assert waiting["data"]["columns"] == ["id", "text"]

    relay.upload("in/_relay.toml", TEMPLATE.encode())
    relay.finish()

    lines = relay.lines("in/records.jsonl")
    assert [line["custom_id"] for line in lines] == ["a", "b"]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}


def test_the_example_of_job_waiting_starts_the_job_as_it_is(relay: Harness) -> None:
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n')
    (waiting,) = relay.events()

    relay.upload(waiting["data"]["options_keys"][0], waiting["data"]["example"].encode())
    relay.finish()

    assert relay.manifest("in/records.jsonl")["outcome"] == "succeeded"


def test_a_job_that_waits_for_weeks_is_checked_a_few_times_a_day(relay: Harness) -> None:
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n')
    looks = list[str]()
    for _ in range(14 * 24):
        relay.tick(3600.0)
        (waiting,) = relay.items.unfinished().jobs
        looks.append(waiting.not_before or "")

    assert len({*looks[:24]}) > 10
    assert 3 * 4 <= len({*looks[-3 * 24 :]}) <= 3 * 5
    assert [event["type"] for event in relay.events()] == ["job.waiting"]

    relay.upload("in/_relay.toml", TEMPLATE.encode())
    relay.finish()
    assert relay.manifest("in/records.jsonl")["outcome"] == "succeeded"


CHAT_ROW = (
    b'{"custom_id":"%b","method":"POST","url":"/v1/chat/completions","body":'
    b'{"model":"%b","messages":[{"role":"user","content":"hi"}]}}\n'
)
BEDROCK_ROW = (
    b'{"recordId":"%b",%b"modelInput":{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,'
    b'"messages":[{"role":"user","content":"hi"}]}}\n'
)
CLAUDE_ON_BEDROCK = b'"modelId":"us.anthropic.claude-haiku-4-5-20251001-v1:0",'


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (CHAT_ROW % (b"a", b"gpt-4o") + CHAT_ROW % (b"b", b"o3"), ["gpt-4o", "o3"]),
        (CHAT_ROW % (b"a", b"claude-haiku-5-5") + CHAT_ROW % (b"b", b"o3"), ["o3"]),
        (CHAT_ROW % (b"a", b"the text of a prompt"), ["*"]),
        (BEDROCK_ROW % (b"a", b""), ["*"]),
        (BEDROCK_ROW % (b"a", CLAUDE_ON_BEDROCK) + BEDROCK_ROW % (b"b", b""), ["*"]),
    ],
)
def test_rows_whose_models_are_not_mapped_wait_and_the_example_starts_them(
    body: bytes, models: list[str], relay: Harness
) -> None:
    relay.upload("in/batch.jsonl", body)
    relay.tick(3600.0)
    (waiting,) = relay.events()
    assert (waiting["type"], waiting["data"]["waiting_for"]) == ("job.waiting", "models")
    assert waiting["data"]["models"] == models
    assert relay.simulator.batches() == []

    relay.upload(waiting["data"]["options_keys"][1], waiting["data"]["example"].encode())
    relay.finish()

    assert relay.manifest("in/batch.jsonl")["outcome"] == "succeeded"


@pytest.mark.parametrize(
    "body", [CHAT_ROW % (b"a", b"claude-haiku-5-5"), BEDROCK_ROW % (b"a", CLAUDE_ON_BEDROCK)]
)
def test_rows_that_name_a_claude_model_need_no_mapping(body: bytes, relay: Harness) -> None:
    relay.upload("in/batch.jsonl", body)
    relay.finish()

    assert relay.manifest("in/batch.jsonl")["outcome"] == "succeeded"
    assert "job.waiting" not in {event["type"] for event in relay.events()}


def test_a_model_that_only_later_rows_name_is_rejected_row_by_row(relay: Harness) -> None:
    first_rows = b"".join(CHAT_ROW % (b"%d" % n, b"claude-haiku-5-5") for n in range(100))
    relay.upload("in/batch.jsonl", first_rows + CHAT_ROW % (b"last", b"gpt-4o"))
    relay.finish()

    assert relay.manifest("in/batch.jsonl")["counts"] == {"succeeded": 100, "rejected": 1}
    *_, last = relay.lines("in/batch.jsonl")
    assert last["result"]["error"]["code"] == "model_unmapped"
    assert 'no Claude model is known for the model "gpt-4o"' in last["result"]["error"]["message"]


def test_a_mapping_that_lacks_a_model_is_announced_once_with_what_is_left(relay: Harness) -> None:
    relay.upload("in/batch.jsonl", CHAT_ROW % (b"a", b"gpt-4o") + CHAT_ROW % (b"b", b"o3"))
    relay.upload("in/_relay.toml", b'models = { "gpt-4o" = "claude-haiku-5-5" }')
    for _ in range(3):
        relay.tick(3600.0)

    assert [event["data"]["models"] for event in relay.events()] == [["gpt-4o", "o3"], ["o3"]]


def test_a_template_may_be_uploaded_before_the_records(relay: Harness) -> None:
    relay.upload("_relay.toml", TEMPLATE.encode())
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n')
    relay.finish()

    assert relay.manifest("in/records.jsonl")["outcome"] == "succeeded"
    assert "job.waiting" not in {event["type"] for event in relay.events()}


def test_a_template_with_an_unknown_column_refuses_the_upload_before_anything_is_sent(
    relay: Harness,
) -> None:
    relay.upload("in/_relay.toml", TEMPLATE.replace("{{text}}", "{{txt}}").encode())
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n')
    relay.finish()

    manifest = relay.manifest("in/records.jsonl")
    assert manifest["reason"] == (
        "the template names columns that the upload does not have: txt; it has: id, text"
    )
    assert relay.simulator.batches() == []


def test_the_sentence_about_unknown_columns_is_one_line(relay: Harness) -> None:
    relay.upload("in/_relay.toml", TEMPLATE.encode())
    relay.upload("in/a.csv", b'id,"te\nxt"\na,one\n')
    relay.finish()

    assert relay.manifest("in/a.csv")["reason"] == (
        "the template names columns that the upload does not have: text; it has: id, te xt"
    )


def test_defaults_without_messages_are_no_template(relay: Harness) -> None:
    relay.upload("_relay.toml", b'[request.params]\nmodel = "claude-haiku-5-5"\nmax_tokens = 64')
    relay.upload("in/a.csv", b"id,text\na,one\n")

    assert [event["type"] for event in relay.events()] == ["job.waiting"]

    relay.upload("in/_relay.toml", TEMPLATE.encode())
    relay.finish()
    assert relay.manifest("in/a.csv")["outcome"] == "succeeded"


def test_long_names_of_columns_are_cut_where_they_are_stored(relay: Harness) -> None:
    record = {"x" * 300_000: 1, **{f"column {n}": n for n in range(200)}}
    relay.upload("in/_relay.toml", TEMPLATE.replace("text", "y" * 300_000).encode())
    relay.upload("in/records.jsonl", json.dumps(record).encode())
    relay.finish()

    manifest = relay.manifest("in/records.jsonl")
    assert manifest["outcome"] == "failed"
    assert len(manifest["reason"]) < 10_000


def test_an_archived_file_of_options_holds_the_upload_and_is_announced(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = relay.s3.get_object

    def get_unless_archived(**arguments: Any) -> Any:
        if arguments["Key"] == "in/_relay.toml":
            raise ClientError({"Error": {"Code": "InvalidObjectState"}}, "GetObject")
        return get(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(relay.s3, "get_object", get_unless_archived)
        relay.upload("in/march.jsonl", make_row(1))
        relay.tick()

    (rejected,) = relay.events()
    assert rejected["type"] == "options.rejected"
    assert "archived" in rejected["data"]["problem"]
    assert relay.simulator.batches() == []
    relay.finish()
    assert relay.manifest("in/march.jsonl")["outcome"] == "succeeded"


def test_a_file_of_options_that_cannot_be_used_holds_its_uploads_until_it_is_corrected(
    relay: Harness,
) -> None:
    relay.upload("in/_relay.toml", b"modles = 1")
    relay.upload("in/march.jsonl", make_row(1))
    relay.upload("in/april.jsonl", make_row(2))
    relay.tick()
    (rejected,) = relay.events()  # one, however many uploads wait
    assert rejected["type"] == "options.rejected"
    assert relay.simulator.batches() == []

    relay.upload("in/_relay.toml", b"betas = ['one-2026-01-01', 'two-2026-01-01']")
    relay.finish()

    assert relay.manifest("in/march.jsonl")["outcome"] == "succeeded"
    assert relay.manifest("in/april.jsonl")["outcome"] == "succeeded"


def test_a_misnamed_file_of_options_is_announced_and_uploads_run_without_it(
    relay: Harness,
) -> None:
    relay.upload("in/_RELAY.toml", b"betas = ['one-2026-01-01']")
    relay.upload("in/April.csv.Relay.toml", b"betas = ['one-2026-01-01']")
    relay.upload("in/march.jsonl", make_row(1))
    relay.finish()

    rejected = [event for event in relay.events() if event["type"] == "options.rejected"]
    assert [event["data"]["options"]["key"] for event in rejected] == [
        "in/_RELAY.toml", "in/April.csv.Relay.toml"
    ]  # fmt: skip
    assert "rename it to _relay.toml" in rejected[0]["data"]["message"]
    assert relay.manifest("in/march.jsonl")["options"] == []


def test_the_problem_of_a_file_of_options_is_cut_where_it_is_stored(relay: Harness) -> None:
    relay.upload("in/_relay.toml", b'on_unsupported = "%b"' % (b"x" * 600_000))
    relay.upload("in/march.jsonl", make_row(1))
    relay.tick()

    (rejected,) = relay.events()
    assert rejected["type"] == "options.rejected"
    assert len(rejected["data"]["problem"]) == MAX_PROBLEM_CHARS


def test_an_invocation_that_is_late_does_not_replace_frozen_options(relay: Harness) -> None:
    late, owner = make_job(owner="late"), make_job(owner="owner")
    save_options(relay.submit.files, late, Options(betas=["a"]))
    frozen = msgspec.structs.replace(
        owner, options_key=save_options(relay.submit.files, owner, Options(betas=["b"]))
    )
    save_options(relay.submit.files, late, Options(betas=["a"]))

    assert load_options(relay.submit.files, frozen).betas == ["b"]


def test_an_export_that_cannot_be_closed_never_holds_back_the_answers(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the function were killed there: by its time limit, for example."""

    def be_killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("functions.exports.results_csv.closing", be_killed)
    relay.upload("in/_relay.toml", TEMPLATE.encode())
    relay.upload("in/march.csv", b"id,text\n1,one\n")
    for _ in range(60):
        with suppress(KeyboardInterrupt):
            relay.tick(3600.0)

    manifest = relay.manifest("in/march.csv")
    assert manifest["counts"] == {"succeeded": 1}
    assert manifest["exports"] == {"complete": False, "reason": "not joined in 4 tries"}


def test_the_options_name_the_sheet_of_a_workbook(relay: Harness) -> None:
    body = workbook([["id", "text"], ["a", "one"], ["b", "[fate:invalid_request_error]"]])
    relay.deploy(requests_per_batch=1)
    relay.upload("in/_relay.toml", f'sheet = "{VISIBLE}"\n{TEMPLATE}'.encode())
    relay.upload("in/a.xlsx", body)
    relay.finish()

    manifest = relay.manifest("in/a.xlsx")
    assert (manifest["outcome"], manifest["format"]["sheet"]) == ("partial", VISIBLE)
    assert relay.read("in/a.xlsx", "retry.csv").decode("utf-8-sig").splitlines() == [
        "id,text",
        "b,[fate:invalid_request_error]",
    ]


def test_a_workbook_without_the_sheet_is_refused_with_the_names_of_its_sheets(
    relay: Harness,
) -> None:
    relay.upload("in/_relay.toml", f'sheet = "Tickets"\n{TEMPLATE}'.encode())
    relay.upload("in/a.xlsx", workbook([["id", "text"], ["a", "one"]]))
    relay.finish()

    assert relay.manifest("in/a.xlsx")["reason"] == (
        f'the workbook has no sheet "Tickets"; name one of its sheets in the option sheet: {VISIBLE}'
    )


def test_a_job_that_waits_can_be_canceled(relay: Harness) -> None:
    relay.upload("in/records.jsonl", b'{"id":"a","text":"one"}\n')
    relay.pass_time(1)
    relay.upload("in/records.jsonl.cancel", b"")
    relay.finish()

    manifest = relay.manifest("in/records.jsonl")
    assert (manifest["outcome"], manifest["reason"]) == (
        "canceled",
        "canceled before it was planned",
    )


def bedrock_rows(betas: Iterable[Sequence[str]]) -> bytes:
    return b"\n".join(
        json.dumps({
            "recordId": f"R{number}",
            "modelInput": {"anthropic_beta": row_betas, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        }).encode()
        for number, row_betas in enumerate(betas, 1)
    )  # fmt: skip


def test_rows_with_other_betas_go_out_in_other_batches(relay: Harness) -> None:
    relay.upload("in/_relay.toml", b'models = { "*" = "claude-haiku-5-5" }')
    relay.upload("in/b.jsonl", bedrock_rows([[], ["x"], ["x"], []]))
    relay.finish()

    batches = relay.manifest("in/b.jsonl")["batches"]
    assert [batch["rows"] for batch in batches] == [[1, 1], [2, 3], [4, 4]]
    assert {line["result"]["type"] for line in relay.lines("in/b.jsonl")} == {"succeeded"}


def test_betas_of_the_options_are_no_other_betas(relay: Harness) -> None:
    relay.upload("in/_relay.toml", b'models = { "*" = "claude-haiku-5-5" }\nbetas = ["x"]')
    relay.upload("in/b.jsonl", bedrock_rows([[], ["x"], ["x", "y"], ["y"]]))
    relay.finish()

    batches = relay.manifest("in/b.jsonl")["batches"]
    assert [batch["rows"] for batch in batches] == [[1, 2], [3, 4]]


def test_betas_that_change_all_the_time_are_named_in_a_notice(relay: Harness) -> None:
    relay.upload("in/_relay.toml", b'models = { "*" = "claude-haiku-5-5" }')
    relay.upload("in/few.jsonl", bedrock_rows([[], ["x"]] * 5))
    relay.upload("in/many.jsonl", bedrock_rows([[], ["x"]] * 6))
    relay.finish()

    few, many = (relay.manifest(f"in/{name}.jsonl")["format"] for name in ("few", "many"))
    assert few.get("notices", []) == []
    notice = (
        "the rows are sent in 12 batches, because anthropic_beta changes 11 times from row to row; "
        "sort the rows by it, or set all of its values as the option betas"
    )
    assert many["notices"] == [notice]


def test_defaults_of_the_options_complete_native_rows(relay: Harness) -> None:
    relay.upload("in/_relay.toml", b'[request.params]\nmodel = "claude-haiku-5-5"\nmax_tokens = 7')
    row = {
        "custom_id": "a",
        "params": {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    }
    relay.upload("in/march.jsonl", json.dumps(row).encode())
    relay.finish()

    assert relay.manifest("in/march.jsonl")["outcome"] == "succeeded"
    (line,) = relay.lines("in/march.jsonl")
    assert line["result"]["message"]["model"] == "claude-haiku-5-5"


def test_a_row_without_params_stops_no_other_row_that_defaults_complete(relay: Harness) -> None:
    relay.put("_relay.toml", b"[request.params]\nmax_tokens = 4096\n")
    relay.upload("march.jsonl", make_row(1) + b'\n{"custom_id": "2"}\n' + make_row(3))
    relay.finish()

    assert [line["result"]["type"] for line in relay.lines("march.jsonl")] == [
        "succeeded",
        "rejected",
        "succeeded",
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_an_upload_of_each_kind_runs_as_it_is(
    kind: Kind, relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each invocation plans one chunk of two rows, so reading resumes in the middle of the upload."""
    monkeypatch.setattr(plan, "MAX_PLANNING_S", 0.0)
    relay.deploy(requests_per_batch=2)
    if kind.options:
        relay.upload("in/_relay.toml", kind.options.encode())
    relay.upload(f"in/{kind.key}", kind.body)
    relay.finish()

    lines = relay.lines(f"in/{kind.key}")
    manifest = relay.manifest(f"in/{kind.key}")
    assert manifest["counts"] == {"succeeded": ROWS - 1, "errored": 1}, manifest["reason"]
    assert manifest["exports"] == {"complete": True, "reason": None}
    assert [line["row"] for line in lines] == list(range(1, ROWS + 1))
    assert len({line["custom_id"] for line in lines}) == ROWS
    assert len(manifest["batches"]) == 3
    for path in kind.exports:
        assert relay.read(f"in/{kind.key}", path)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_the_retry_file_of_each_kind_is_an_upload_itself(kind: Kind, relay: Harness) -> None:
    if kind.options:
        relay.upload("in/_relay.toml", kind.options.encode())
    relay.upload(f"in/{kind.key}", kind.body)
    relay.finish()
    retry_name = relay.manifest(f"in/{kind.key}")["files"]["retry"]["uri"].rpartition("/")[2]

    relay.upload(f"in/again/{retry_name}", relay.read(f"in/{kind.key}", retry_name))
    relay.finish()

    (line,) = relay.lines(f"in/again/{retry_name}")
    (failed,) = relay.lines(f"in/{kind.key}", "errors.jsonl")
    assert failed["row"] == FAILING_ROW
    assert line["custom_id"] == failed["custom_id"]
    assert line["result"]["type"] == "errored"


@needs_samples
@pytest.mark.parametrize(
    ("name", "column"), [("conversations.csv", "conversation"), ("tickets.tsv", "text")]
)
def test_a_table_comes_back_as_it_was_with_the_answers_after_it(
    name: str, column: str, relay: Harness
) -> None:
    body = (SAMPLES / name).read_bytes()
    template = TEMPLATE.replace("{{text}}", f"{{{{{column}}}}}").replace('"{{id}}"', '"row"')
    relay.upload("in/_relay.toml", template.encode())
    relay.upload(f"in/{name}", body)
    relay.finish()

    uploaded = read_table(body.decode("utf-8-sig"), "\t" if name.endswith(".tsv") else ",")
    returned = read_table(relay.read(f"in/{name}", "results.csv").decode("utf-8-sig"), ",")
    width = len(uploaded[0])
    assert [row[:width] for row in returned] == uploaded
    assert returned[0][width:][:3] == ["answer", "status", "stop_reason"]
    assert {row[width + 1] for row in returned[1:]} == {"succeeded"}


def read_table(text: str, delimiter: str) -> list[list[str]]:
    """Read a table as Python's own csv module does, without blank lines."""
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]


def test_the_page_has_the_table() -> None:
    assert PAGE.read_text("utf-8") == page_with_table()


MEMBERS = [
    ("before", '{"model": "x", "betas": [], "requests": [%s]}', "model, betas"),
    ("behind", '{"requests": [%s], "metadata": {"a": 1}}', "metadata"),
    ("on both sides", '{"model": "x", "requests": [%s], "metadata": 1}', "model, metadata"),
    ("in several objects", '{"a": 1, "requests": [%s]} [] {}', "a"),
    ("none", '{"requests": [%s]}', ""),
    ("an array", "[%s]", ""),
]


@pytest.mark.parametrize(("upload", "names"), [case[1:] for case in MEMBERS], ids=[case[0] for case in MEMBERS])  # fmt: skip
def test_members_other_than_requests_are_named_in_a_notice(
    relay: Harness, upload: str, names: str
) -> None:
    relay.upload("in/a.json", (upload % make_row(1, max_tokens=4096).decode()).encode())
    relay.finish()

    [planned] = [event["data"] for event in relay.events() if event["type"] == "job.planned"]
    notice = f'members other than "requests" are not sent: {names}; options files set what all rows share'
    assert planned["notices"] == ([notice] if names else [])
    assert relay.manifest("in/a.json")["format"].get("notices", []) == planned["notices"]


NATIVE = '{"custom_id":"%s","params":{"model":"claude-haiku-4-5","max_tokens":64,"messages":[{"role":"user","content":"x"}]}}'
OPENAI = '{"custom_id":"%s","url":"/v1/chat/completions","body":{"model":"m","messages":[{"role":"user","content":"x"}]}}'
MODELS = 'models = { "*" = "claude-haiku-5-5" }'
PREFIXED = TEMPLATE.replace('"{{id}}"', '"ticket-{{id}}"')
REJECTED_IDS = [
    ("no comma", "a.json", f"[{NATIVE % 'a'}{NATIVE % 'b'}]", "", ["a", "b"]),
    ("no comma, translated", "a.json", f"[{OPENAI % 'a'}{OPENAI % 'b'}]", MODELS, ["a", "b"]),
    ("cut off", "a.json", f"[{NATIVE % 'a'},{(NATIVE % 'b')[:-3]}", "", ["a", "b"]),
    ("text after the array", "a.json", f"[{NATIVE % 'a'}] x", "", ["a", None]),
    ("ragged", "a.csv", "id,text\na,x\nb,x,y\nc\n", TEMPLATE, ["a", "b", "c"]),
    ("ragged, own id", "a.csv", "id,text\na,x\nb,x,y\n", PREFIXED, ["ticket-a", "ticket-b"]),
    ("ragged, id behind", "a.csv", "text,id\nx,a\nx,y,b\n", TEMPLATE, ["a", None]),
    ("unclosed", "a.csv", 'id,text\na,x\nb,"x\n', TEMPLATE, ["a", "b"]),
    ("no id", "a.jsonl", '{"id":"a","text":"x"}\n{"text":"x"}', TEMPLATE, ["a", None]),
]


@pytest.mark.parametrize(("name", "upload", "options", "ids"), [case[1:] for case in REJECTED_IDS], ids=[case[0] for case in REJECTED_IDS])  # fmt: skip
def test_a_row_that_its_reader_rejects_keeps_its_id_if_that_is_certain(
    relay: Harness, name: str, upload: str, options: str, ids: list[str | None]
) -> None:
    relay.upload("_relay.toml", options.encode())
    relay.upload(f"in/{name}", upload.encode())
    relay.finish()

    assert [line["custom_id"] for line in relay.lines(f"in/{name}")] == ids


def test_the_batch_object_of_openai_has_what_is_known_of_the_job(relay: Harness) -> None:
    usage = {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}
    body = {"model": "gpt-5", "input": f"[usage:{json.dumps(usage)}]"}
    row = {"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}
    rows = [row, row | {"custom_id": "b", "url": "/v1/embeddings"}]
    relay.upload("_relay.toml", b'models = { "*" = "claude-haiku-5-5" }')
    relay.upload("in/a.jsonl", b"\n".join(json.dumps(each).encode() for each in rows))
    relay.finish()

    written = Batch.model_validate_json(relay.read("in/a.jsonl", "openai/batch.json"))
    assert written.endpoint == "/v1/responses"
    assert written.usage is not None
    assert written.usage.output_tokens_details.reasoning_tokens == 4
    assert written.errors is not None
    assert [error.code for error in written.errors.data or ()] == ["endpoint_unsupported"]
