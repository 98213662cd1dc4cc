"""A disk that is smaller than a batch's results: they are downloaded once for each part of the rows that fits."""

import json
from typing import Any

import pytest

from functions.errors import ErrorLinesTooLargeError
from tests.harness import Harness, upload_of


def without_ids(lines: list[dict[str, Any]]) -> list[Any]:
    """Leave out what differs between two jobs of the same upload: the made-up message's id."""
    blank = {"id": None}
    return [json.loads(json.dumps(line), object_hook=lambda one: one | blank) for line in lines]


def downloads(relay: Harness) -> int:
    return sum(count for name, count in relay.simulator.calls().items() if "results" in name)


def test_results_that_do_not_fit_on_the_disk_come_out_the_same(relay: Harness) -> None:
    relay.upload("all.jsonl", upload_of(60))
    relay.finish()
    once = downloads(relay)
    relay.deploy(disk_bytes=20_000)

    relay.upload("parts.jsonl", upload_of(60))
    relay.finish()

    assert downloads(relay) > 2 * once
    whole, parts = relay.lines("all.jsonl"), relay.lines("parts.jsonl")
    assert [line["row"] for line in parts] == list(range(1, 61))
    assert without_ids(parts) == without_ids(whole)
    assert relay.manifest("parts.jsonl")["usage"] == relay.manifest("all.jsonl")["usage"]


def test_errors_that_do_not_fit_on_the_disk_are_refused_with_the_setting(relay: Harness) -> None:
    relay.deploy(disk_bytes=4_000)
    relay.upload("all.jsonl", b"{broken\n" * 30 + upload_of(1))

    with pytest.raises(ErrorLinesTooLargeError, match=r"1,000 bytes; raise resultsDiskMib"):
        relay.finish()
