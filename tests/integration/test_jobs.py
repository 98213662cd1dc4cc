"""Whole jobs, from the upload to the event."""

from tests.world import World, request, upload_of


def test_answers_every_row_in_order(relay: World) -> None:
    relay.upload("in/march.jsonl", upload_of(25))

    relay.finish()

    lines = relay.lines("in/march.jsonl")
    assert [line["row"] for line in lines] == list(range(1, 26))
    assert [line["custom_id"] for line in lines] == [f"row-{n}" for n in range(1, 26)]
    assert {line["result"]["type"] for line in lines} == {"succeeded"}
    assert [event["type"] for event in relay.events()] == [
        "job.planned", "batch.ended", "job.completed",
    ]  # fmt: skip
