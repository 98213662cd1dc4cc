"""Results larger than the disk are saved in S3, and read once for each range of rows that fits."""

import itertools
import json
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from functions.errors import DownloadError
from functions.model.items.stored_objects import ObjectVersion
from tests.harness import Harness, make_upload

KEY = "in/march.jsonl"


def without_ids(lines: list[dict[str, Any]]) -> list[Any]:
    """Remove the generated message ids, which differ between two jobs of the same upload."""
    without_id = {"id": None}
    return [
        json.loads(json.dumps(line), object_hook=lambda document: document | without_id)
        for line in lines
    ]


def downloads(relay: Harness) -> int:
    return sum(count for name, count in relay.simulator.calls().items() if "results" in name)


def test_results_larger_than_the_disk_are_the_same(relay: Harness) -> None:
    relay.upload("all.jsonl", make_upload(60))
    relay.finish()
    downloads_once = downloads(relay)
    relay.deploy(disk_bytes=20_000)

    relay.upload("parts.jsonl", make_upload(60))
    relay.finish()

    # Until the disk is full, then into S3.
    assert downloads(relay) == downloads_once + 2
    whole_lines, part_lines = relay.lines("all.jsonl"), relay.lines("parts.jsonl")
    assert [line["row"] for line in part_lines] == list(range(1, 61))
    assert without_ids(part_lines) == without_ids(whole_lines)
    assert relay.manifest("parts.jsonl")["usage"] == relay.manifest("all.jsonl")["usage"]


def test_results_that_come_in_another_order_each_time_come_out_the_same(relay: Harness) -> None:
    relay.deploy(disk_bytes=20_000)
    download, turn = relay.results.claude.results, itertools.count()

    def turned(batch_id: str, start: int = 0) -> Generator[bytes]:
        lines = b"".join(download(batch_id)).splitlines(keepends=True)
        yield b"".join(lines[:: 1 if next(turn) % 2 else -1])[start:]

    relay.results.claude.results = turned  # type: ignore[method-assign]
    relay.upload(KEY, make_upload(60))
    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 61))


def test_ordering_that_takes_longer_than_an_invocation_names_the_setting(relay: Harness) -> None:
    relay.deploy(disk_bytes=20_000)
    relay.upload(KEY, make_upload(60))
    for _ in range(10):
        if any(batch.pieces for batch in relay.items.unfinished().batches):
            break
        relay.tick()
    read = relay.results.files.read

    def read_slowly(
        source: ObjectVersion, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        if stop is None and ".piece." in source.key:
            relay.context.left_s -= 500.0
        return read(source, start, stop)

    relay.results.files.read = read_slowly  # type: ignore[method-assign]
    with pytest.raises(DownloadError, match=r"out of time .* raise resultsDiskMib"):
        relay.tick()
    relay.results.files.read = read  # type: ignore[method-assign]
    relay.context.left_s = 900.0

    relay.finish()

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 61))


def test_error_lines_that_do_not_fit_on_the_disk_hold_back_no_answer(relay: Harness) -> None:
    """errors.jsonl repeats lines of results.jsonl: it lacks this chunk's, and the manifest says so."""
    relay.deploy(disk_bytes=4_000, requests_per_batch=30)
    relay.upload(KEY, b"{broken\n" * 29 + make_upload(2) + b"\n{broken")

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"rejected": 30, "succeeded": 2}
    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, 33))
    assert [line["row"] for line in relay.lines(KEY, "errors.jsonl")] == [32]
    first, second = relay.manifest(KEY)["batches"]
    assert "rows 1 to 30" in first["problem"]
    assert "raise resultsDiskMib or lower requestsPerBatch" in first["problem"]
    assert "problem" not in second
    assert relay.manifest(KEY)["retry"]["rows"] == 30
