"""Malicious uploads through the whole relay: each row is answered, or rejected with a reason."""

import gzip
import json
import re
from collections.abc import Generator
from typing import Any

import msgspec
import pytest

from functions.model.streams import CACHE_BLOCK
from tests.harness import RESULTS, UPLOADS, Harness, make_row, make_upload

BOM = b"\xef\xbb\xbf"
VALID_ROW = b'{"custom_id":"good","params":{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}}'  # fmt: skip
ROW_BYTES = 12_000_000


@pytest.fixture(autouse=True)
def deployed_settings(relay: Harness) -> None:
    relay.deploy(row_bytes=ROW_BYTES, requests_per_batch=10_000)
    relay.pass_time(7200)
    relay.envelopes()


def row_with_user_id(user_id: bytes) -> bytes:
    """Return a row whose params contain this user id."""
    return VALID_ROW[:-2] + b',"metadata":{"user_id":' + user_id + b"}}}"


def outcomes_of(relay: Harness, key: str, body: bytes) -> list[str]:
    """Run an upload; return each row's outcome, or why it was rejected."""
    relay.upload(key, body)
    relay.finish()
    lines = relay.read(key, "results.jsonl").split(b"\n")[:-1]
    results = [json.loads(line.partition(b',"result":')[2][:-1]) for line in lines]
    assert [line.partition(b",")[0] for line in lines] == [
        b'{"row":%d' % (number + 1) for number in range(len(lines))
    ]
    return [r["error"]["code"] if r["type"] == "rejected" else r["type"] for r in results]


ROWS: dict[str, tuple[bytes, str]] = {
    "ten megabytes": (row_with_user_id(b'"' + b"x" * 10_000_000 + b'"'), "succeeded"),
    "longer than the limit": (row_with_user_id(b'"' + b"x" * ROW_BYTES + b'"'), "too_long"),
    "100,000 brackets": (row_with_user_id(b"[" * 100_000 + b"]" * 100_000), "too_deep"),
    "100,000 brackets left open": (row_with_user_id(b"[" * 100_000), "too_deep"),
    "NaN": (row_with_user_id(b"NaN"), "invalid_json"),
    "Infinity": (row_with_user_id(b"-Infinity"), "invalid_json"),
    "a lone surrogate": (row_with_user_id(b'"\\ud83d"'), "invalid_unicode"),
    "a lone surrogate as UTF-8": (row_with_user_id(b'"\xed\xa0\xbd"'), "invalid_utf8"),
    "NUL": (row_with_user_id(b'"\0"'), "invalid_json"),
    "NUL, escaped": (row_with_user_id(b'"\\u0000"'), "succeeded"),
    "a duplicate key": (VALID_ROW[:-1] + b',"params":1}', "no_params"),
    "a duplicate key, the last one valid": (b'{"params":1,' + VALID_ROW[1:], "succeeded"),
    "10,000 digits": (row_with_user_id(b"9" * 10_000), "succeeded"),
    "a number out of range": (row_with_user_id(b"1e999999999"), "succeeded"),
    "the relay's own keys": (
        VALID_ROW[:-1] + b',"row":1,"result":{"type":"succeeded"},"requests":[]}',
        "succeeded",
    ),
    "the relay's own keys in params": (
        row_with_user_id(b'{"row":7,"result":{"custom_id":"x"}}'),
        "succeeded",
    ),
    "a line separator": (row_with_user_id('"\u2028\u2029\u0085"'.encode()), "succeeded"),
    "a carriage return between members": (VALID_ROW.replace(b",", b"\r,"), "succeeded"),
    "a deeply nested custom_id": (
        VALID_ROW.replace(b'"good"', b"[" * 500 + b"]" * 500),
        "succeeded",
    ),
    "a custom_id of many digits": (VALID_ROW.replace(b'"good"', b"9" * 4096), "succeeded"),
    "a custom_id of a megabyte": (
        VALID_ROW.replace(b"good", b"x" * 1_000_000),
        "custom_id_too_long",
    ),
    "a byte order mark inside": (b" " + BOM + VALID_ROW, "invalid_json"),
}
"""A row, and its outcome."""


def test_a_hostile_row_gets_its_outcome_and_does_not_affect_its_neighbors(
    relay: Harness, key: str
) -> None:
    rows = [VALID_ROW]
    for row, _ in ROWS.values():
        rows += [row, VALID_ROW]
    outcomes = outcomes_of(relay, key, b"\n".join(rows))

    assert dict(zip(ROWS, outcomes[1::2], strict=True)) == {
        name: outcome for name, (_, outcome) in ROWS.items()
    }
    assert outcomes[::2] == ["succeeded"] * (len(ROWS) + 1)
    retry = relay.read(key, "retry.jsonl").split(b"\n")[:-1]
    assert retry == [row.strip() for row, outcome in ROWS.values() if outcome != "succeeded"]


@pytest.mark.parametrize("custom_id", [b"1", b"[1]", b'{"a":1}', b'"3f9ac21b04d7c1e89a02-00001-1-000000002"', b"null"])  # fmt: skip
def test_a_custom_id_of_any_type_is_returned_unchanged(
    relay: Harness, key: str, custom_id: bytes
) -> None:
    """Even a custom_id in our own format, of another job: the API only sees ours."""
    assert (
        outcomes_of(relay, key, VALID_ROW.replace(b'"good"', custom_id) + b"\n" + VALID_ROW)
        == ["succeeded"] * 2
    )
    first = relay.read(key, "results.jsonl").split(b"\n")[0]
    assert first.startswith(b'{"row":1,"custom_id":%b,"result":' % custom_id)


REJECTED_UPLOADS: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "the upload is empty"),
    "a byte order mark": (BOM, "the upload is empty"),
    "blank lines": (b"\n \t\r\n\r\n\n", "the upload is empty"),
    "damaged gzip": (
        gzip.compress(VALID_ROW * 50)[:60],
        "the gzip data of the upload ends too early",
    ),
    "a PDF": (b"%PDF-1.7\n" + bytes(range(256)), "the upload is a PDF"),
    "zeros": (b"\0" * 100_000, "not UTF-8 text"),
}


@pytest.mark.parametrize("name", REJECTED_UPLOADS)
def test_an_upload_without_rows_is_rejected_with_a_reason(
    relay: Harness, key: str, name: str
) -> None:
    body, sentence = REJECTED_UPLOADS[name]

    assert outcomes_of(relay, key, body) == []
    manifest = relay.manifest(key)
    assert (manifest["outcome"], manifest["rows"]) == ("failed", 0)
    assert sentence in manifest["reason"]
    assert [event["type"] for event in relay.events()] == ["job.rejected"]


OBJECT_NAMES = [
    "a/../b.jsonl",
    "a/./b c+d%20e%2F.jsonl",
    "..jsonl",
    ".jsonl",
    "line\nbreak/\r.jsonl",
    "\x01\x02/\x1f\x7f.jsonl",
    "\u2028/\u2029\u0085/\u202egpj.jsonl",
    "\U0001f600/é/日本.NDJSON",
    "x" * (1024 - 6) + ".jsonl",
    "/" * 300 + "é" * 350 + ".jsonl",
    "\"&<>'{}[]`^|\\#?=;:@$,!*().jsonl",
]


@pytest.mark.parametrize("name", OBJECT_NAMES, ids=lambda name: ascii(name)[:40])
def test_an_object_with_any_name_gets_its_own_results_folder(relay: Harness, name: str) -> None:
    assert len(name.encode()) <= 1024
    existing = objects(relay)
    relay.upload(name, VALID_ROW)
    relay.finish()
    new_keys = objects(relay) - existing
    (completed_envelope,) = [envelope for envelope in relay.envelopes() if envelope["MessageAttributes"]["type"]["Value"] == "job.completed"]  # fmt: skip

    assert len({new_key.rpartition("/")[0] for new_key in new_keys}) == 1
    assert {new_key.rpartition("/")[2] for new_key in new_keys} >= {
        "results.jsonl",
        "manifest.json",
    }
    completed = json.loads(completed_envelope["Message"])["data"]
    assert (completed["upload"]["key"], completed["outcome"]) == (name, "succeeded")
    assert completed_envelope["Subject"].isprintable()


def objects(relay: Harness) -> set[str]:
    found = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="results/", EncodingType="url")
    return {content["Key"] for content in found.get("Contents", [])}


def test_an_upload_replaced_during_planning_is_read_in_its_original_version(
    relay: Harness, key: str
) -> None:
    relay.deploy(requests_per_batch=2)
    first = b"\n".join(make_row(number, "first") for number in range(1, 8))
    event = relay.put(key, first)
    remaining_ms = iter([900_000, 900_000, 900_000, 900_000])
    original_clock = relay.context.get_remaining_time_in_millis
    context: Any = relay.context
    context.get_remaining_time_in_millis = lambda: next(remaining_ms, 1000)
    relay.submit_message(event)
    (job,) = relay.items.unfinished().jobs
    assert 0 < job.checkpoint.row < 7
    relay.s3.put_object(Bucket=UPLOADS, Key=key, Body=b"nothing of it\n" * 100)

    context.get_remaining_time_in_millis = original_clock
    relay.finish()
    lines = [json.loads(line) for line in relay.read(key, "results.jsonl").split(b"\n")[:-1]]
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in range(1, 8)]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}


def test_the_deepest_accepted_custom_id_is_returned(relay: Harness, key: str) -> None:
    """An accepted id must be readable later, from any stack depth: its length limits its depth."""
    rows = [row_with_nested_id(depth) for depth in range(2000, 2100)]
    outcomes = outcomes_of(relay, key, b"\n".join(rows))

    assert outcomes == ["succeeded"] * 49 + ["custom_id_too_long"] * 51


@pytest.mark.parametrize("disk_bytes", [1 << 30, 4_000_000])
def test_results_of_any_depth_survive_another_attempt(
    relay: Harness, key: str, monkeypatch: pytest.MonkeyPatch, disk_bytes: int
) -> None:
    """A result must be readable again: from an earlier part, and with little disk.

    Some rows are about as deep as the parser allows, others deeper.
    """
    relay.deploy(disk_bytes=disk_bytes)
    limit = deepest_parsed_value()
    download = relay.results.claude.results

    def nest_results(batch_id: str, start: int = 0) -> Generator[bytes]:
        yield b"".join(nested_lines(batch_id))[start:]

    def nested_lines(batch_id: str) -> Generator[bytes]:
        for line in sorted(b"".join(download(batch_id)).splitlines(keepends=True)):
            row = int(line.partition(b'","result"')[0][-9:])
            depth = limit + (10 * row - 600 if row < 20 else row)
            brackets = (
                b"[" * depth + b" " * CACHE_BLOCK + b"]" * depth
            )  # long enough to be read alone
            yield line.replace(b'"content":', b'"new":%b,"content":' % brackets)

    monkeypatch.setattr(relay.results.claude, "results", nest_results)
    retried = make_row(
        1, f"{key} [fate:overloaded_error]"
    )  # only the first time; the text is unique to the test
    relay.upload(key, retried + make_upload(60))
    relay.finish()
    # No parser reads these lines whole.
    outcomes = re.findall(rb'^\{"row":(\d+),.*?"result":\{"type":"(\w+)"', relay.read(key, "results.jsonl"), re.MULTILINE)  # fmt: skip

    assert len(relay.manifest(key)["batches"]) == 2
    assert outcomes == [(b"%d" % row, b"succeeded") for row in range(1, 62)]


def row_with_nested_id(depth: int) -> bytes:
    return VALID_ROW.replace(b'"good"', b"[" * depth + b"]" * depth)


def deepest_parsed_value() -> int:
    """Return how deeply a value may be nested to be parsed here."""
    low, high = 100, 100_000
    while low < high - 1:
        middle = (low + high) // 2
        try:
            msgspec.json.decode(b"[" * middle + b"]" * middle, type=msgspec.Raw)
            low = middle
        except RecursionError:
            high = middle
    return low
