"""Under ``equal_rows = "once"``, equal rows of a chunk share one request: asked once, answered in each place, paid once."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.harness import Harness, make_row
from tests.integration.deleted_files import pass_hours, tick_until_sent
from tests.integration.test_budgets import events_of_type

KEY, OPTIONS = "in/march.jsonl", "in/_relay.toml"
ONCE = b'equal_rows = "once"\n'


def row(custom_id: str, text: str, **params: Any) -> bytes:
    """Return a row whose params depend on the text alone."""
    request = json.loads(make_row(0, text, **params))
    return json.dumps({**request, "custom_id": custom_id}).encode()


def rows(texts: str) -> list[bytes]:
    """Return a row for each word."""
    return [row(f"id-{number}", text) for number, text in enumerate(texts.split(), 1)]


def start(relay: Harness, body: list[bytes], options: bytes = ONCE, **settings: Any) -> None:
    relay.deploy(**settings)
    relay.upload(OPTIONS, options)
    relay.upload(KEY, b"\n".join(body))


def types(relay: Harness) -> str:
    return " ".join(line["result"]["type"] for line in relay.lines(KEY))


def sent(relay: Harness) -> int:
    return sum(relay.simulator.accepted_params().values())


S, X, E = "succeeded", "expired", "errored"
TWO = {"requests_per_batch": 2}
CASES: list[tuple[str, str, bytes, dict[str, Any], str, int, int]] = [
    # name, rows, options, settings, outcomes, requests, copies
    ("all equal", "a a a a", ONCE, {}, f"{S} {S} {S} {S}", 1, 3),
    ("among others", "a b a c b d", ONCE, {}, " ".join([S] * 6), 4, 2),
    ("in all chunks", "a b a c b a d a", ONCE, TWO, " ".join([S] * 8), 4, 4),
    ("a chunk of copies alone", "a b b a a b c", ONCE, TWO, " ".join([S] * 7), 3, 4),
    ("a failure fails those of other chunks", "a [fate:invalid_request_error] b [fate:invalid_request_error] a", ONCE, TWO, f"{S} {E} {S} {E} {S}", 3, 2),
    ("a retried row answers other chunks", "[fate:expired] a b [fate:expired] [fate:expired]", ONCE, TWO, " ".join([S] * 5), 4, 2),
    ("a chunk with retries and copies", "a b [fate:expired] a c [fate:expired]", ONCE, TWO, " ".join([S] * 6), 5, 2),
    ("expired to the end in other chunks", "[fate:always-expired] a b [fate:always-expired]", ONCE, TWO, f"{X} {S} {S} {X}", 5, 1),
    ("with more room in other chunks", "[needs:100] a b [needs:100]", ONCE + b"retry_truncated = {factor = 2}", TWO, " ".join([S] * 4), 4, 1),
    ("a failure fails all", "a [fate:invalid_request_error] b [fate:invalid_request_error]", ONCE, {}, f"{S} {E} {S} {E}", 3, 1),
    ("a retried row answers all", "[fate:expired] a [fate:expired] a", ONCE, {}, " ".join([S] * 4), 3, 2),
    ("expired to the end", "[fate:always-expired] a [fate:always-expired]", ONCE, {}, f"{X} {S} {X}", 4, 1),
    ("with more room", "[needs:100] a [needs:100]", ONCE + b"retry_truncated = {factor = 2}", {}, f"{S} {S} {S}", 3, 1),
    ("off by default", "a a", b"", {}, f"{S} {S}", 2, 0),
    ("each", "a a", b'equal_rows = "each"', {}, f"{S} {S}", 2, 0),
    ("pilot", "a a a a", ONCE + b"pilot_rows = 2\npilot_auto = true", {}, f"{S} {S} {S} {S}", 1, 3),
    ("pilot, then others", "a a a b a b c b", ONCE + b"pilot_rows = 2\npilot_auto = true", TWO, " ".join([S] * 8), 3, 5),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "options", "settings", "outcomes", "counts"), [(*case[1:5], case[5:]) for case in CASES], ids=[case[0] for case in CASES])  # fmt: skip
def test_equal_rows_are_asked_once_and_answered_in_each_place(
    relay: Harness,
    texts: str,
    options: bytes,
    settings: dict[str, Any],
    outcomes: str,
    counts: tuple[int, int],
) -> None:
    start(relay, rows(texts), options, **settings)
    relay.finish()

    manifest, lines = relay.manifest(KEY), relay.lines(KEY)
    assert types(relay) == outcomes
    numbers = range(1, len(lines) + 1)
    assert [(line["row"], line["custom_id"]) for line in lines] == [
        (n, f"id-{n}") for n in numbers
    ]
    assert (manifest["requests"], manifest["copies"]) == counts
    assert sent(relay) == counts[0]
    assert manifest["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)
    assert sum(manifest["counts"].values()) == len(lines)
    failed = [line for line in lines if line["result"]["type"] != S]
    assert relay.lines(KEY, "errors.jsonl") == failed
    retried = [line["custom_id"] for line in relay.lines(KEY, "retry.jsonl")]
    assert retried == [line["custom_id"] for line in failed]
    texts_by_row = [json.dumps(line["result"]) for line in lines]
    if outcomes == " ".join([S] * len(lines)):
        assert all(map(str.__contains__, texts_by_row, texts.split()))


def too_large(relay: Harness) -> None:
    relay.simulator.arm("too_large", times=0, more_than=1)


def refuse_bad(relay: Harness) -> None:
    relay.simulator.arm("refuse_matching", times=0, contains="bad")


SPLITS = [
    ("each half answers its copies", "a b a b a b", too_large, " ".join([S] * 6)),
    ("halves of copies alone", "a a b b b a", too_large, " ".join([S] * 6)),
    ("a refused row and its copies", "a bad a bad b", refuse_bad, f"{S} rejected {S} rejected {S}"),
    ("several refused rows", "bad badder a bad badder", refuse_bad, f"rejected rejected {S} rejected rejected"),
]  # fmt: skip


@pytest.mark.parametrize(("texts", "arm", "outcomes"), [case[1:] for case in SPLITS], ids=[case[0] for case in SPLITS])  # fmt: skip
def test_copies_of_a_split_chunk_are_answered(
    relay: Harness, texts: str, arm: Callable[[Harness], None], outcomes: str
) -> None:
    arm(relay)
    start(relay, rows(texts))
    relay.finish()

    assert types(relay) == outcomes
    answers = [json.dumps(line["result"]) for line in relay.lines(KEY)]
    words = texts.split()
    assert all(
        answer == answers[words.index(word)] or outcome == "rejected"
        for word, answer, outcome in zip(words, answers, outcomes.split(), strict=True)
    )
    assert relay.manifest(KEY)["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)


def test_results_that_do_not_fit_on_the_disk_reach_their_copies(relay: Harness) -> None:
    texts = " ".join(
        f"{word}-{'x' * 500}" for word in ["a", "b", "c", "d", "e", "a", "b", "c", "d", "e", "a"]
    )
    start(relay, rows(texts), disk_bytes=4_000)
    relay.finish()

    answers = [line["result"]["message"]["content"][0]["text"] for line in relay.lines(KEY)]
    assert [answer[6] for answer in answers] == [
        "a",
        "b",
        "c",
        "d",
        "e",
        "a",
        "b",
        "c",
        "d",
        "e",
        "a",
    ]


def test_the_estimate_and_the_event_count_requests(relay: Harness) -> None:
    start(relay, rows("a a b a"))
    relay.finish()

    estimate = relay.manifest(KEY)["estimate"]
    (planned,) = events_of_type(relay, "job.planned")
    assert (planned["rows"], planned["requests"], planned["rejected"]) == (4, 2, 0)
    assert estimate["output_tokens"]["worst"] == 2 * 64


def test_rows_are_equal_after_the_template(relay: Harness) -> None:
    template = (
        ONCE
        + b'[request.params]\nmodel = "claude-haiku-4-5"\nmax_tokens = 9\nmessages = [{role = "user", content = "{{city}}"}]'
    )
    relay.upload(OPTIONS, template)
    relay.upload("in/a.csv", b"id,city\n1,Rome\n2,Oslo\n3,Rome\n")
    relay.finish()

    assert relay.manifest("in/a.csv")["copies"] == 1
    assert [line["custom_id"] for line in relay.lines("in/a.csv")] == ["1", "2", "3"]
    table = relay.read("in/a.csv", "results.csv").splitlines()
    assert table[1].partition(b"Rome")[2] == table[3].partition(b"Rome")[2] != b""


IN_ONE_CHUNK_AND_SEVERAL = pytest.mark.parametrize("requests_per_batch", [100, 2])


@IN_ONE_CHUNK_AND_SEVERAL
def test_a_copy_has_its_line_in_every_export_of_a_table(
    relay: Harness, tmp_path: Path, requests_per_batch: int
) -> None:
    relay.deploy(requests_per_batch=requests_per_batch)
    template = (
        ONCE
        + b'outputs = ["csv", "parquet"]\n[request.params]\nmodel = "claude-haiku-4-5"\nmax_tokens = 9\n'
        + b'messages = [{role = "user", content = "{{city}}"}]'
    )
    relay.upload(OPTIONS, template)
    cities = ["Rome", "[fate:invalid_request_error]", "Rome", "[fate:invalid_request_error]"]
    table = "id,city\n" + "".join(f"{n},{city}\n" for n, city in enumerate(cities, 1))
    relay.upload("in/a.csv", table.encode())
    relay.finish()

    text = relay.read("in/a.csv", "results.csv").decode("utf-8-sig")
    of_csv = [[*line.values()] for line in csv.DictReader(io.StringIO(text))]
    (tmp_path / "results.parquet").write_bytes(relay.read("in/a.csv", "results.parquet"))
    parquet = duckdb.read_parquet(str(tmp_path / "results.parquet")).fetchall()
    of_parquet = [["" if cell is None else str(cell) for cell in line] for line in parquet]
    for exported in (of_csv, of_parquet):
        assert [line[:2] for line in exported] == [[str(n), c] for n, c in enumerate(cities, 1)]
        assert [line[2:] for line in exported[2:]] == [line[2:] for line in exported[:2]]
        assert ["errored" in line for line in exported] == [False, True, False, True]
    assert (relay.manifest("in/a.csv")["copies"], sent(relay)) == (2, 2)


@IN_ONE_CHUNK_AND_SEVERAL
def test_a_copy_has_its_line_in_the_files_of_openai(
    relay: Harness, requests_per_batch: int
) -> None:
    relay.deploy(requests_per_batch=requests_per_batch)
    relay.upload(OPTIONS, ONCE + b'models = {"*" = "claude-haiku-4-5"}')
    texts = ["a", "b", "[fate:invalid_request_error]", "a", "[fate:invalid_request_error]"]
    bodies = [
        {"model": "gpt", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
        for text in texts
    ]
    lines = [
        {"custom_id": f"id-{n}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        for n, body in enumerate(bodies, 1)
    ]
    relay.upload(KEY, b"\n".join(json.dumps(line).encode() for line in lines))
    relay.finish()

    output, errors = (relay.lines(KEY, f"openai/{name}.jsonl") for name in ("output", "error"))
    assert [line["custom_id"] for line in output] == ["id-1", "id-2", "id-4"]
    assert [line["custom_id"] for line in errors] == ["id-3", "id-5"]
    answers = [line["response"]["body"]["choices"][0]["message"]["content"] for line in output]
    assert answers[0] == answers[2] != answers[1]
    counts = json.loads(relay.read(KEY, "openai/batch.json"))["request_counts"]
    assert counts == {"total": 5, "completed": 3, "failed": 2}
    assert (relay.manifest(KEY)["copies"], sent(relay)) == (2, 3)
    assert relay.manifest(KEY)["cost_usd"] == pytest.approx(relay.simulator.bill().usd, abs=1e-6)


def test_without_its_ledger_a_copy_says_that_it_was_not_sent(relay: Harness) -> None:
    relay.simulator.processing_s = 100.0
    start(relay, rows("a b a"))
    batch = tick_until_sent(relay)
    relay.s3.delete_object(Bucket=relay.results.files.bucket, Key=batch.ledger_key)
    pass_hours(relay)

    assert types(relay) == f"{S} {S} rejected"
    assert "equal to another row" in relay.lines(KEY)[2]["result"]["error"]["message"]
