"""Rows that succeed without a usable answer are counted in the manifest and in the event."""

from tests.harness import Harness, make_row

KEY = "in/march.jsonl"


def test_empty_and_truncated_answers_are_counted_over_chunks_and_attempts(relay: Harness) -> None:
    relay.deploy(requests_per_batch=2)
    fates = ["", "[fate:refusal]", "[fate:max_tokens]", "[fate:expired]", "[fate:refusal]"]

    relay.upload(KEY, b"\n".join(make_row(row, fate) for row, fate in enumerate(fates, 1)))
    relay.finish(60)

    manifest = relay.manifest(KEY)
    [event] = [event["data"] for event in relay.events() if event["type"] == "job.completed"]
    assert manifest["counts"] == {"succeeded": 5}
    assert manifest["stop_reasons"] == {"end_turn": 2, "max_tokens": 1, "refusal": 2}
    for figures in (manifest, event):
        assert (figures["empty_answers"], figures["truncated"]) == (2, 1)
