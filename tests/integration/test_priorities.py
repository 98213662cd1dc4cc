"""Priorities and shares, from an options file to what is sent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.priority import Share
from tests.harness import Harness, make_upload, open_harness

SHARES = b"""
[shares]
"team-a" = { open_batches = 1, requests = 50 }
"team-b" = { requests = 3 }
"""
IN_FLIGHT = (BatchStatus.SENDING, BatchStatus.IN_PROGRESS)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Harness]:
    """A relay whose batches run for hours, with two rows in each."""
    with open_harness(tmp_path, processing_s=36_000.0) as harness:
        harness.deploy(requests_per_batch=2)
        yield harness


def sent(relay: Harness) -> list[str]:
    """Return the top-level folders of the jobs that have batches at Anthropic, one for each batch."""
    unfinished = relay.items.unfinished()
    folders = {job.job: job.key.partition("/")[0] for job in unfinished.jobs}
    return sorted(folders[batch.job] for batch in unfinished.of(*IN_FLIGHT))


def batches(relay: Harness) -> list[Batch]:
    return relay.items.unfinished().batches


def end_one(relay: Harness) -> None:
    """End the oldest Message Batch that is in progress, and send what fits then."""
    in_progress = next(
        batch
        for batch in reversed(relay.simulator.batches())
        if batch["processing_status"] == "in_progress"
    )
    relay.simulator.end(str(in_progress["id"]))
    relay.tick()
    relay.tick()


def test_higher_priorities_are_sent_first(relay: Harness) -> None:
    relay.deploy(open_batches=1)
    relay.upload("first/a.jsonl", make_upload(1))
    relay.tick()
    for priority in ("low", "normal", "high"):
        relay.upload(f"{priority}/_relay.toml", f'priority = "{priority}"'.encode())
        relay.upload(f"{priority}/a.jsonl", make_upload(1, priority))
        relay.tick(1)
    assert sent(relay) == ["first"]

    order = []
    for _ in range(3):
        end_one(relay)
        order += sent(relay)

    assert order == ["high", "normal", "low"]


def test_a_folder_stays_within_its_share_and_others_use_the_rest(relay: Harness) -> None:
    relay.upload("_relay.toml", SHARES)
    for folder in ("team-a", "team-b", "team-c"):
        relay.upload(f"{folder}/a.jsonl", make_upload(6, folder))
    relay.tick()

    assert sent(relay) == ["team-a", "team-b", "team-c", "team-c", "team-c"]
    relay.tick(7200)
    assert sent(relay) == ["team-a", "team-b", "team-c", "team-c", "team-c"]


def test_a_job_with_a_share_ends_batch_by_batch(relay: Harness) -> None:
    relay.upload("_relay.toml", SHARES)
    relay.upload("team-a/a.jsonl", make_upload(6))
    relay.tick()
    for _ in range(3):
        assert sent(relay) == ["team-a"]
        end_one(relay)
    relay.finish()

    manifest = relay.manifest("team-a/a.jsonl")
    assert manifest["counts"] == {"succeeded": 6}
    assert manifest["settings"]["share"] == {
        "folder": "team-a",
        "open_batches": 1,
        "requests": 50,
    }


@pytest.mark.parametrize(
    ("key", "share"),
    [
        ("team-a/a.jsonl", Share(folder="team-a", open_batches=1, requests=50)),
        ("team-a/2026/q1/a.jsonl", Share(folder="team-a", open_batches=1, requests=50)),
        ("team-b/a.jsonl", Share(folder="team-b", requests=3)),
        ("team-c/a.jsonl", None),
        ("other/team-a/a.jsonl", None),
        ("team-a.jsonl", None),
    ],
)
def test_the_top_level_folder_decides_the_share(
    relay: Harness, key: str, share: Share | None
) -> None:
    relay.upload("_relay.toml", SHARES)
    relay.upload(key, make_upload(1))

    assert [batch.share for batch in batches(relay)] == [share]


def test_shares_in_a_folder_are_refused(relay: Harness) -> None:
    """Otherwise a team could enlarge its own share."""
    relay.upload("team-a/_relay.toml", SHARES)
    relay.upload("team-a/a.jsonl", make_upload(1))
    relay.tick()

    (rejected,) = relay.events()
    assert rejected["type"] == "options.rejected"
    assert rejected["data"]["problem"] == (
        "`shares` limits whole folders; move it to _relay.toml in the root of the bucket"
    )
    assert relay.simulator.batches() == []


def frozen(relay: Harness) -> list[tuple[str, Any]]:
    return [(batch.priority, batch.share) for batch in batches(relay)]


def test_priority_and_share_are_frozen_and_copied_to_later_batches(
    relay: Harness,
) -> None:
    relay.upload("_relay.toml", SHARES)
    relay.upload("team-a/_relay.toml", b'priority = "low"')
    relay.upload("team-a/a.jsonl", make_upload(2))
    relay.upload("_relay.toml", b"")
    relay.upload("team-a/_relay.toml", b'priority = "high"')
    expected = ("low", Share(folder="team-a", open_batches=1, requests=50))
    assert frozen(relay) == [expected]

    relay.simulator.arm("too_large", times=1)
    relay.tick()
    assert frozen(relay) == [expected] * 2
