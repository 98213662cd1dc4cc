"""Results that break off without an error: what is paid for is waited for, and never taken for missing."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from functions.assembling.reopen import reopen
from functions.collecting import result_set
from functions.model.items.batch import Batch
from functions.model.items.stored_objects import ObjectVersion
from tests.harness import RESULTS, Harness, every_row_accepted_once, make_upload, open_harness

KEY = "in/march.jsonl"
ROWS = 20
DAY_S = 24 * 3600.0


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose job has ended at Anthropic, and is not collected yet."""
    with open_harness(tmp_path, processing_s=100.0) as made:
        made.upload(KEY, make_upload(ROWS))
        for _ in range(2):
            made.tick()
        yield made


def wait(relay: Harness, days: float) -> None:
    """Let days pass, six hours at a time."""
    for _ in range(int(days * 4)):
        relay.tick(DAY_S / 4)


def ended(relay: Harness) -> Batch:
    (batch,) = relay.items.unfinished().batches
    return batch


@pytest.mark.parametrize("cut", ["cut_at_line", "cut_inside_line"])
def test_results_that_break_off_for_weeks_are_waited_for(relay: Harness, cut: str) -> None:
    relay.simulator.arm(cut, times=0, framing="close")
    wait(relay, 14)
    batch = ended(relay)
    relay.simulator.disarm()

    relay.finish()

    assert (batch.status, batch.close_reason) == ("ENDED", None)
    assert "broke off" in (batch.last_error or "")
    assert [event["type"] for event in relay.events()].count("batch.stuck") == 1
    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    assert every_row_accepted_once(relay)


@pytest.mark.parametrize("ranges", [True, False], ids=["206", "200"])
def test_results_that_broke_off_continue_after_the_bytes_that_arrived(
    relay: Harness,
    *,
    ranges: bool,
) -> None:
    relay.simulator.ranges = ranges
    relay.simulator.arm("cut_inside_line", times=2, framing="close")

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
    found = relay.s3.list_objects_v2(Bucket=RESULTS, Prefix="work/")["Contents"]
    first, second = (one["Size"] for one in found if ".piece." in one["Key"])
    assert max(first, second) < 2 * min(first, second)  # halves, not the whole twice


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        ("cut_at_line", {"framing": "close", "rows": ROWS - 1}),
        ("cut_inside_line", {"framing": "close", "rows": ROWS - 1}),
        ("row_missing", {}),
    ],
)
def test_what_arrived_is_delivered_once_anthropic_has_deleted_the_rest(
    relay: Harness, fault: str, options: dict[str, Any]
) -> None:
    """The rows that arrived are saved, because nobody can download them any more."""
    relay.simulator.arm(fault, times=0, **options)
    wait(relay, 28)
    assert ended(relay).close_reason is None

    wait(relay, 4)

    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": ROWS - 1}
    assert every_row_accepted_once(relay)


def test_what_was_saved_of_results_that_are_gone_is_delivered(relay: Harness) -> None:
    relay.simulator.arm("cut_at_line", times=3, framing="close")
    while not ended(relay).pieces:
        relay.tick()
    relay.simulator.arm("results_not_found", times=0)

    wait(relay, 32)

    assert relay.manifest(KEY)["counts"] == {"errored": ROWS // 2, "succeeded": ROWS // 2}


def test_saved_results_that_cannot_be_read_are_not_given_up(relay: Harness) -> None:
    relay.simulator.arm("cut_at_line", times=3, framing="close")
    while not ended(relay).pieces:
        relay.tick()
    relay.simulator.arm("results_not_found", times=0)
    read = relay.results.files.read

    def failing(source: ObjectVersion, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if ".piece." in source.key:
            raise ValueError
        return read(source, start, stop)

    relay.results.files.read = failing  # type: ignore[method-assign]
    for _ in range(33 * 4):
        with suppress(ValueError):
            relay.tick(DAY_S / 4)
    assert ended(relay).close_reason == "relay_stuck"
    relay.results.files.read = read  # type: ignore[method-assign]

    relay.finish(60)

    assert relay.manifest(KEY)["counts"] == {"errored": ROWS // 2, "succeeded": ROWS // 2}


def test_saved_results_that_are_gone_too_hold_up_nothing(relay: Harness) -> None:
    relay.simulator.arm("cut_at_line", times=3, framing="close")
    while not (saved := ended(relay).pieces):
        relay.tick()
    relay.simulator.arm("results_not_found", times=0)
    relay.s3.delete_object(Bucket=RESULTS, Key=saved[0].key)

    wait(relay, 32)

    assert relay.manifest(KEY)["counts"] == {"errored": ROWS}


def test_a_row_is_missing_once_five_whole_downloads_lack_it(relay: Harness) -> None:
    """Each has a line for every request, so nothing broke off: one line is there twice."""
    relay.simulator.arm("row_missing", times=0)
    relay.simulator.arm("row_doubled", times=0)

    relay.finish(60)

    assert relay.manifest(KEY)["errors"] == {"result_missing": 1}
    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": ROWS - 1}
    assert every_row_accepted_once(relay)


def unreadable_lines(relay: Harness) -> list[bytes]:
    return relay.read(KEY, "unreadable/00001-1.txt").splitlines()


def test_a_result_that_cannot_be_read_holds_up_no_other_row(relay: Harness) -> None:
    """Five downloads over six hours have a line for every request. What one of them says is kept for people."""
    relay.simulator.arm("row_unreadable", times=0)

    relay.finish(60)

    assert relay.manifest(KEY)["errors"] == {"result_unreadable": 1}
    assert relay.manifest(KEY)["counts"] == {"errored": 1, "succeeded": ROWS - 1}
    (line,) = unreadable_lines(relay)
    assert b'"custom_id"' in line
    assert b"hello" not in relay.read(KEY, "errors.jsonl")
    assert every_row_accepted_once(relay)


def test_a_result_that_names_another_row_is_kept_too(relay: Harness) -> None:
    relay.simulator.arm("row_missing", times=0)
    relay.simulator.arm("row_foreign", times=0)

    relay.finish(60)

    assert relay.manifest(KEY)["errors"] == {"result_unreadable": 1}
    assert unreadable_lines(relay) == [b'{"custom_id":"foreign-0","result":{"type":"expired"}}']


@pytest.mark.parametrize("limit", ["rows", "bytes"])
def test_results_of_an_unknown_format_are_waited_for(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """If no row can be read, or too much cannot, the fault may be here: a later version may read them."""
    if limit == "bytes":
        monkeypatch.setattr(result_set, "MAX_UNREADABLE_BYTES", 10)
    relay.simulator.arm("row_unreadable", times=0, rows=ROWS if limit == "rows" else 1)
    wait(relay, 20)
    assert ended(relay).close_reason is None
    relay.simulator.disarm()

    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}


@pytest.mark.parametrize("faults", [["row_unreadable"], ["row_missing", "row_doubled"]])
def test_a_result_that_was_given_up_can_be_collected_again(
    relay: Harness, faults: list[str]
) -> None:
    for fault in faults:
        relay.simulator.arm(fault, times=0)
    relay.finish(60)
    relay.simulator.disarm()

    assert reopen(relay.results, "recollect", str(relay.manifest(KEY)["job"]))["batches"] == 1
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": ROWS}
