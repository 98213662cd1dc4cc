"""A disk that is smaller than a batch's results: they are downloaded once for each part of the rows that fits."""

import json

from tests.world import World, upload_of


def without_ids(lines: list[dict[str, object]]) -> list[object]:
    """Leave out what differs between two jobs of the same upload: the made-up message's id."""
    return [
        json.loads(json.dumps(line), object_hook=lambda found: found | {"id": None})
        for line in lines
    ]


def test_results_that_do_not_fit_on_the_disk_come_out_the_same(relay: World) -> None:
    relay.upload("all.jsonl", upload_of(60))
    relay.finish()
    before = relay.simulator.calls.copy() if hasattr(relay.simulator, "calls") else None
    relay.deploy(disk_bytes=8_000)

    relay.upload("parts.jsonl", upload_of(60))
    relay.finish()

    assert before is None or before
    whole, parts = relay.lines("all.jsonl"), relay.lines("parts.jsonl")
    assert [line["row"] for line in parts] == list(range(1, 61))
    assert without_ids(parts) == without_ids(whole)
    assert relay.manifest("parts.jsonl")["usage"] == relay.manifest("all.jsonl")["usage"]


def test_a_result_that_fits_on_no_disk_is_accounted_for_all_the_same(relay: World) -> None:
    relay.deploy(disk_bytes=100)
    relay.upload("all.jsonl", upload_of(3))

    relay.finish(ticks=600)

    kinds = {line["result"]["error"]["error"]["type"] for line in relay.lines("all.jsonl")}
    assert kinds == {"relay_stuck"}
