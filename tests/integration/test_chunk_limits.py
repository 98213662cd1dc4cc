"""The size of a chunk on disk and in memory is bounded, whatever its custom_ids are."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from functions.model.chunk_files import ChunkWriter
from functions.model.items.batch import Batch
from functions.sending import split
from tests.harness import RESULTS, Harness, every_row_accepted_once, make_row, make_upload

KEY = "in/march.jsonl"


def row_with_id(custom_id: str, number: int) -> bytes:
    row = json.loads(make_row(number))
    return json.dumps({**row, "custom_id": custom_id}).encode()


@pytest.mark.parametrize("separator", [b"\n", b" "])
def test_a_chunk_is_limited_by_the_size_of_both_its_files(
    relay: Harness, separator: bytes
) -> None:
    relay.deploy(batch_bytes=100_000)
    ids = [f"{number:04d}".ljust(4000, "x") for number in range(100)]
    relay.upload(
        KEY, separator.join(row_with_id(custom_id, number) for number, custom_id in enumerate(ids))
    )
    (job,) = relay.items.unfinished().jobs
    batches = relay.items.batches(job.job)
    relay.finish()

    for batch in batches:
        ledger = relay.s3.head_object(Bucket=RESULTS, Key=batch.ledger_key)["ContentLength"]
        assert batch.size_bytes + ledger <= 100_000 + 5_000
    assert 4 <= len(batches) <= 8
    assert [line["custom_id"] for line in relay.lines(KEY)] == ids
    assert every_row_accepted_once(relay)


def test_a_row_with_an_overlong_custom_id_is_rejected_without_storing_the_id(
    relay: Harness,
) -> None:
    rows = [row_with_id("x" * 110_000, number) for number in range(1, 40)]
    relay.upload(KEY, b"\n".join([*rows, make_row(40)]))
    (batch,) = relay.items.unfinished().batches
    ledger = relay.s3.head_object(Bucket=RESULTS, Key=batch.ledger_key)["ContentLength"]
    relay.finish()

    lines = relay.lines(KEY)
    assert ledger < 40 * 400
    assert [line["row"] for line in lines] == list(range(1, 41))
    assert {line["custom_id"] for line in lines[:39]} == {None}
    assert "110,002 bytes long; the limit is 4,096" in lines[0]["result"]["error"]["message"]
    assert lines[39]["result"]["type"] == "succeeded"
    assert relay.read(KEY, "retry.jsonl") == b"\n".join(rows) + b"\n"


def test_a_chunk_is_split_without_loading_its_ledger(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries_read, entries_ahead = [0], [0]
    read_entries, write_entry = split._entries, ChunkWriter.put  # noqa: SLF001 - wrapped by the test

    def count_entries(services: Any, batch: Batch) -> Iterator[Any]:
        for entry in read_entries(services, batch):
            entries_read[0] += 1
            yield entry

    def count_written(files: ChunkWriter, entry: Any, params: bytes | None) -> None:
        entries_ahead[0] = max(entries_ahead[0], entries_read[0] - entry.row)
        write_entry(files, entry, params)

    monkeypatch.setattr(split, "_entries", count_entries)
    relay.upload(KEY, make_upload(50))
    monkeypatch.setattr(ChunkWriter, "put", count_written)
    relay.simulator.arm("too_large", more_than=25)
    relay.tick()

    assert len(relay.items.unfinished().batches) == 2
    assert entries_read[0] == 100
    assert entries_ahead[0] <= 50  # the first half is read again for the second
    monkeypatch.undo()
    relay.finish()
    assert relay.manifest(KEY)["counts"] == {"succeeded": 50}
