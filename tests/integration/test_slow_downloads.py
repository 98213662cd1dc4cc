"""Results that do not arrive within one invocation are saved in pieces, until all of them are there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from functions.model.streams import line_blocks
from local.simulator import downloads
from tests.harness import Harness, Lambda, harness, paid_once, upload_of

ROWS = 60
KEY = "in/march.jsonl"


@dataclass
class Running(Lambda):
    """A Lambda whose time runs out: a minute at each look."""

    def get_remaining_time_in_millis(self) -> int:
        self.left_s -= 60.0
        return super().get_remaining_time_in_millis()


@pytest.fixture(params=[True, False], ids=["206", "200"])
def relay(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Harness]:
    """A relay whose Claude sends results line by line, and honors `Range` or does not."""
    monkeypatch.setattr(downloads, "_BLOCK_BYTES", 1)
    monkeypatch.setattr("functions.collecting.download.PIECE_BYTES", 1000)
    monkeypatch.setattr("functions.collecting.download.OVERLAP", 100)
    monkeypatch.setattr("functions.collecting.download.line_blocks", partial(line_blocks, size=1))
    with harness(tmp_path) as made:
        made.simulator.ranges = request.param
        yield made


def run(relay: Harness, left_s: float = 900.0, ticks: int = 40) -> int:
    """Tick with invocations that have so much time, until the job is done or there were so many."""
    for tick in range(1, ticks + 1):
        relay.context = Running(left_s)
        relay.tick(600.0)
        left = relay.items.unfinished()
        if not (left.jobs or left.batches or left.events):
            return tick
    return 0


def saved(relay: Harness) -> list[str]:
    found = relay.s3.list_objects_v2(Bucket="results", Prefix="work/").get("Contents", [])
    return [one["Key"] for one in found if ".piece." in one["Key"]]


def begun(relay: Harness) -> None:
    """Plan and send a job, and let its download be too slow until a piece is saved."""
    relay.upload(KEY, upload_of(ROWS))
    for _ in range(5):
        if not saved(relay):
            assert not run(relay, ticks=1)
    assert saved(relay)


def test_a_download_that_fits_into_no_invocation_goes_on_where_it_stopped(relay: Harness) -> None:
    if not relay.simulator.ranges:
        pytest.skip("skipping takes as long as receiving")
    relay.upload(KEY, upload_of(ROWS))

    assert run(relay)

    assert [line["row"] for line in relay.lines(KEY)] == list(range(1, ROWS + 1))
    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert paid_once(relay)
    assert len(saved(relay)) > 1
    for key in saved(relay):  # marked with the other work files
        tags = relay.s3.get_object_tagging(Bucket="results", Key=key)["TagSet"]
        assert tags == [{"Key": "done", "Value": "true"}]


def test_what_is_saved_is_of_use_to_a_faster_download(relay: Harness) -> None:
    begun(relay)

    assert run(relay, left_s=9000.0)

    assert [line["custom_id"] for line in relay.lines(KEY)] == [
        f"row-{row}" for row in range(1, ROWS + 1)
    ]
    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_results_that_differ_from_what_is_saved_are_downloaded_anew(relay: Harness) -> None:
    begun(relay)
    key = saved(relay)[-1]
    body = relay.s3.get_object(Bucket="results", Key=key)["Body"].read()
    relay.s3.put_object(Bucket="results", Key=key, Body=body[:-5] + b"other")

    assert run(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_pieces_that_are_gone_are_downloaded_anew(relay: Harness) -> None:
    begun(relay)
    for key in saved(relay):
        relay.s3.delete_object(Bucket="results", Key=key)

    assert run(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


def test_a_doubled_line_among_what_is_saved_is_not_kept(relay: Harness) -> None:
    """What is saved is not one line for each row: it is downloaded anew, not believed for ever."""
    relay.simulator.arm("row_doubled", times=2, rows=3)
    begun(relay)

    assert run(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert len(relay.lines(KEY)) == ROWS


def test_a_stream_that_breaks_off_every_time_arrives_in_pieces(relay: Harness) -> None:
    relay.simulator.arm("cut_inside_line", times=4, rows=20, framing="chunked")
    relay.upload(KEY, upload_of(ROWS))

    assert run(relay, left_s=9000.0)

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert paid_once(relay)
