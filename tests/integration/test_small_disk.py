"""Results larger than the disk are downloaded once for each range of rows that fits."""

import json
from typing import Any

import pytest

from functions.errors import ErrorLinesTooLargeError
from tests.harness import Harness, make_upload


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

    assert downloads(relay) > 2 * downloads_once
    whole_lines, part_lines = relay.lines("all.jsonl"), relay.lines("parts.jsonl")
    assert [line["row"] for line in part_lines] == list(range(1, 61))
    assert without_ids(part_lines) == without_ids(whole_lines)
    assert relay.manifest("parts.jsonl")["usage"] == relay.manifest("all.jsonl")["usage"]


def test_errors_larger_than_the_disk_raise_an_error_that_names_the_setting(relay: Harness) -> None:
    relay.deploy(disk_bytes=4_000)
    relay.upload("all.jsonl", b"{broken\n" * 30 + make_upload(1))

    with pytest.raises(ErrorLinesTooLargeError, match=r"1,000 bytes; raise resultsDiskMib"):
        relay.finish()
