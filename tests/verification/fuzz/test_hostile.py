"""Uploads that nobody would write by accident: each row is answered or told why not, through the whole relay."""

import gzip
import json
from collections.abc import Generator
from typing import Any

import pytest

from functions.model.rows import can_be_reparsed
from functions.model.streams import CACHE_BLOCK
from tests.harness import RESULTS, UPLOADS, Harness, request, upload_of

BOM = b"\xef\xbb\xbf"
GOOD = b'{"custom_id":"good","params":{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}}'  # fmt: skip
ROW_BYTES = 12_000_000


@pytest.fixture(autouse=True)
def as_deployed(relay: Harness) -> None:
    relay.deploy(row_bytes=ROW_BYTES, requests_per_batch=10_000)
    relay.pass_time(7200)
    relay.envelopes()


def params(more: bytes) -> bytes:
    """Make a row whose params also hold this."""
    return GOOD[:-2] + b',"metadata":{"user_id":' + more + b"}}}"


def told(relay: Harness, key: str, body: bytes) -> list[str]:
    """Send an upload through; say how each row ended: its outcome, or why it was rejected."""
    relay.upload(key, body)
    relay.finish()
    lines = relay.read(key, "results.jsonl").split(b"\n")[:-1]
    results = [json.loads(line.partition(b',"result":')[2][:-1]) for line in lines]
    assert [line.partition(b",")[0] for line in lines] == [
        b'{"row":%d' % (number + 1) for number in range(len(lines))
    ]
    return [r["error"]["code"] if r["type"] == "rejected" else r["type"] for r in results]


ROWS: dict[str, tuple[bytes, str]] = {
    "ten megabytes": (params(b'"' + b"x" * 10_000_000 + b'"'), "succeeded"),
    "longer than a row may be": (params(b'"' + b"x" * ROW_BYTES + b'"'), "too_long"),
    "100,000 brackets": (params(b"[" * 100_000 + b"]" * 100_000), "too_deep"),
    "100,000 brackets left open": (params(b"[" * 100_000), "too_deep"),
    "NaN": (params(b"NaN"), "invalid_json"),
    "Infinity": (params(b"-Infinity"), "invalid_json"),
    "half a surrogate pair": (params(b'"\\ud83d"'), "invalid_unicode"),
    "half a surrogate pair as UTF-8": (params(b'"\xed\xa0\xbd"'), "invalid_utf8"),
    "NUL": (params(b'"\0"'), "invalid_json"),
    "NUL, escaped": (params(b'"\\u0000"'), "succeeded"),
    "a key twice": (GOOD[:-1] + b',"params":1}', "no_params"),
    "a key twice, the last one good": (b'{"params":1,' + GOOD[1:], "succeeded"),
    "10,000 digits": (params(b"9" * 10_000), "succeeded"),
    "a number beyond any": (params(b"1e999999999"), "succeeded"),
    "keys like ours": (
        GOOD[:-1] + b',"row":1,"result":{"type":"succeeded"},"requests":[]}',
        "succeeded",
    ),
    "keys like ours in params": (params(b'{"row":7,"result":{"custom_id":"x"}}'), "succeeded"),
    "a line separator": (params('"\u2028\u2029\u0085"'.encode()), "succeeded"),
    "a carriage return between": (GOOD.replace(b",", b"\r,"), "succeeded"),
    "custom_id of many brackets": (
        GOOD.replace(b'"good"', b"[" * 500 + b"]" * 500),
        "succeeded",
    ),
    "custom_id of many digits": (GOOD.replace(b'"good"', b"9" * 4096), "succeeded"),
    "custom_id of a megabyte": (GOOD.replace(b"good", b"x" * 1_000_000), "custom_id_too_long"),
    "a byte order mark within": (b" " + BOM + GOOD, "invalid_json"),
}
"""A row, and how it ends."""


def test_each_hostile_row_ends_as_it_should_and_its_neighbours_do_not_notice(
    relay: Harness, key: str
) -> None:
    rows = [GOOD]
    for row, _ in ROWS.values():
        rows += [row, GOOD]
    ends = told(relay, key, b"\n".join(rows))

    assert dict(zip(ROWS, ends[1::2], strict=True)) == {
        name: end for name, (_, end) in ROWS.items()
    }
    assert ends[::2] == ["succeeded"] * (len(ROWS) + 1)
    retry = relay.read(key, "retry.jsonl").split(b"\n")[:-1]
    assert retry == [row.strip() for row, end in ROWS.values() if end != "succeeded"]


@pytest.mark.parametrize("sent", [b"1", b"[1]", b'{"a":1}', b'"3f9ac21b04d7c1e89a02-00001-1-000000002"', b"null"])  # fmt: skip
def test_a_custom_id_of_any_shape_comes_back_as_it_stood(
    relay: Harness, key: str, sent: bytes
) -> None:
    """One in our own format, of another job, too: what travels is ours alone."""
    assert told(relay, key, GOOD.replace(b'"good"', sent) + b"\n" + GOOD) == ["succeeded"] * 2
    first = relay.read(key, "results.jsonl").split(b"\n")[0]
    assert first.startswith(b'{"row":1,"custom_id":%b,"result":' % sent)


UPLOADS_WHOLE: dict[str, tuple[bytes, str]] = {
    "no bytes": (b"", "the upload is empty"),
    "a byte order mark": (BOM, "the upload is empty"),
    "blank lines": (b"\n \t\r\n\r\n\n", "the upload is empty"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "not UTF-8 text"),
    "gzip": (gzip.compress(GOOD * 50), "not UTF-8 text"),
    "zeros": (b"\0" * 100_000, "not UTF-8 text"),
}


@pytest.mark.parametrize("name", UPLOADS_WHOLE)
def test_an_upload_that_holds_no_rows_ends_with_a_sentence(
    relay: Harness, key: str, name: str
) -> None:
    body, sentence = UPLOADS_WHOLE[name]

    assert told(relay, key, body) == []
    manifest = relay.manifest(key)
    assert (manifest["outcome"], manifest["rows"]) == ("failed", 0)
    assert sentence in manifest["reason"]
    assert [event["type"] for event in relay.events()] == ["job.rejected"]


NAMES = [
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


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:40])
def test_an_object_of_any_name_is_answered_in_a_folder_of_its_own(
    relay: Harness, name: str
) -> None:
    assert len(name.encode()) <= 1024
    before = objects(relay)
    relay.upload(name, GOOD)
    relay.finish()
    keys = objects(relay) - before
    (told_,) = [one for one in relay.envelopes() if one["MessageAttributes"]["type"]["Value"] == "job.completed"]  # fmt: skip

    assert len({one.rpartition("/")[0] for one in keys}) == 1
    assert {one.rpartition("/")[2] for one in keys} >= {"results.jsonl", "manifest.json"}
    completed = json.loads(told_["Message"])["data"]
    assert (completed["upload"]["key"], completed["outcome"]) == (name, "succeeded")
    assert told_["Subject"].isprintable()


def objects(relay: Harness) -> set[str]:
    found = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="results/", EncodingType="url")
    return {one["Key"] for one in found.get("Contents", [])}


def test_an_upload_that_changes_while_it_is_read_is_read_as_it_was(
    relay: Harness, key: str
) -> None:
    relay.deploy(requests_per_batch=2)
    first = b"\n".join(request(number, "first") for number in range(1, 8))
    event = relay.put(key, first)
    left = iter([900_000, 900_000, 900_000, 900_000])
    patient = relay.context.get_remaining_time_in_millis
    stopped: Any = relay.context
    stopped.get_remaining_time_in_millis = lambda: next(left, 1000)
    relay.submit_message(event)
    (job,) = relay.items.unfinished().jobs
    assert 0 < job.checkpoint.row < 7
    relay.s3.put_object(Bucket=UPLOADS, Key=key, Body=b"nothing of it\n" * 100)

    stopped.get_remaining_time_in_millis = patient
    relay.finish()
    lines = [json.loads(line) for line in relay.read(key, "results.jsonl").split(b"\n")[:-1]]
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in range(1, 8)]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}


def test_the_deepest_custom_id_that_is_taken_comes_through(relay: Harness, key: str) -> None:
    """What is taken must still be read back, from any stack: so short as one must be, none is too deep."""
    rows = [nested(depth) for depth in range(2000, 2100)]
    ends = told(relay, key, b"\n".join(rows))

    assert ends == ["succeeded"] * 49 + ["custom_id_too_long"] * 51


@pytest.mark.parametrize("disk_bytes", [1 << 30, 4_000_000])
def test_the_deepest_result_that_is_taken_comes_through_another_attempt(
    relay: Harness, key: str, monkeypatch: pytest.MonkeyPatch, disk_bytes: int
) -> None:
    """What is taken must be read again: from an earlier attempt's part, and where the disk is short.

    Some rows are about as deep as is taken, the others about as deep as the parser goes.
    """
    relay.deploy(disk_bytes=disk_bytes)
    limit = deepest()
    download = relay.results.claude.results

    def deep(batch_id: str, _start: int) -> Generator[bytes]:
        for line in sorted(b"".join(download(batch_id)).splitlines(keepends=True)):
            row = int(line.partition(b'","result"')[0][-9:])
            depth = limit + (10 * row - 100 if row < 20 else 450 + row)
            brackets = (
                b"[" * depth + b" " * CACHE_BLOCK + b"]" * depth
            )  # so long that it is read alone
            yield line.replace(b'"content":', b'"new":%b,"content":' % brackets)

    monkeypatch.setattr(relay.results.claude, "results", deep)
    again = request(1, f"{key} [fate:overloaded_error]")  # once: another test's is another text
    ends = told(relay, key, again + upload_of(60))

    assert len(relay.manifest(key)["batches"]) == 2
    assert set(ends) == {"succeeded", "errored"}
    assert ends == sorted(ends, reverse=True)


def nested(depth: int) -> bytes:
    return GOOD.replace(b'"good"', b"[" * depth + b"]" * depth)


def deepest() -> int:
    """Find out how deep a result may be nested that is taken here."""
    low, high = 100, 100_000
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if can_be_reparsed([b"[" * middle + b"]" * middle]) else (low, middle)
        )
    return low
