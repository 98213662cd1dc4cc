"""Results that do not arrive within one invocation are saved in pieces until complete."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from functions.model.streams import lines
from local.simulator import downloads
from tests.harness import Harness, Lambda, every_row_accepted_once, make_upload, open_harness

ROWS = 60
KEY = "in/march.jsonl"


@dataclass
class ShrinkingTime(Lambda):
    """A Lambda whose remaining time shrinks by a minute with each call."""

    def get_remaining_time_in_millis(self) -> int:
        self.left_s -= 60.0
        return super().get_remaining_time_in_millis()


@pytest.fixture(params=[True, False], ids=["206", "200"])
def relay(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Harness]:
    """A relay whose Claude sends results line by line, with or without support for `Range`."""
    monkeypatch.setattr(downloads, "_BLOCK_BYTES", 1)
    monkeypatch.setattr("functions.collecting.download.OVERLAP", 100)
    monkeypatch.setattr("functions.collecting.download.line_blocks", lines)
    with open_harness(tmp_path) as harness:
        harness.simulator.ranges = request.param
        yield harness


def tick_until_done(relay: Harness, left_s: float = 900.0, ticks: int = 40) -> int:
    """Tick with limited Lambda time; return the tick that finished the job, or 0."""
    for tick in range(1, ticks + 1):
        relay.context = ShrinkingTime(left_s)
        relay.tick(600.0)
        unfinished = relay.items.unfinished()
        if not (unfinished.jobs or unfinished.batches or unfinished.events):
            return tick
    return 0


def saved_pieces(relay: Harness) -> list[str]:
    stored_objects = relay.s3.list_objects_v2(Bucket="results", Prefix="work/").get("Contents", [])
    return [
        stored_object["Key"]
        for stored_object in stored_objects
        if ".piece." in stored_object["Key"]
    ]


def save_first_piece(relay: Harness) -> None:
    """Send a job, and let its download be too slow until a piece is saved."""
    relay.upload(KEY, make_upload(ROWS))
    for _ in range(5):
        if not saved_pieces(relay):
            assert not tick_until_done(relay, ticks=1)
    assert saved_pieces(relay)


def test_a_download_longer_than_an_invocation_resumes_where_it_stopped(relay: Harness) -> None:
    if not relay.simulator.ranges:
        pytest.skip("skipping takes as long as receiving")
    relay.upload(KEY, make_upload(ROWS))

    assert tick_until_done(relay)

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, ROWS + 1))
    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert every_row_accepted_once(relay)
    assert len(saved_pieces(relay)) > 1
    for key in saved_pieces(relay):  # tagged with the other work files
        tags = relay.s3.get_object_tagging(Bucket="results", Key=key)["TagSet"]
        assert tags == [{"Key": "done", "Value": "true"}]


def test_saved_pieces_are_used_by_a_faster_download(relay: Harness) -> None:
    save_first_piece(relay)

    assert tick_until_done(relay, left_s=9000.0)

    assert [line["custom_id"] for line in relay.lines(KEY)] == [
        f"row-{row}" for row in range(1, ROWS + 1)
    ]
    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_results_that_differ_from_saved_pieces_are_downloaded_again(relay: Harness) -> None:
    save_first_piece(relay)
    key = saved_pieces(relay)[-1]
    body = relay.s3.get_object(Bucket="results", Key=key)["Body"].read()
    relay.s3.put_object(Bucket="results", Key=key, Body=body[:-5] + b"other")

    assert tick_until_done(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_missing_pieces_are_downloaded_again(relay: Harness) -> None:
    save_first_piece(relay)
    for key in saved_pieces(relay):
        relay.s3.delete_object(Bucket="results", Key=key)

    assert tick_until_done(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_saved_pieces_with_a_repeated_line_are_discarded(relay: Harness) -> None:
    """Saved pieces must have one line for each row; others are downloaded again."""
    relay.simulator.arm("row_doubled", times=2, rows=3)
    save_first_piece(relay)

    assert tick_until_done(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert len(relay.lines(KEY)) == ROWS


def test_a_stream_that_always_breaks_arrives_in_pieces(relay: Harness) -> None:
    relay.simulator.arm("cut_inside_line", times=4, rows=20, framing="chunked")
    relay.upload(KEY, make_upload(ROWS))

    assert tick_until_done(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert every_row_accepted_once(relay)
