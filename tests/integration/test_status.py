"""What status.json says in the end is that the job is done, whatever came in between."""

import json
from typing import Any

import pytest

from functions.model.records import Unfinished
from tests.harness import Harness, upload_of

KEY = "in/march.jsonl"


def status(relay: Harness) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(relay.read(KEY, "status.json"))
    return told


def running(relay: Harness) -> Unfinished:
    """Upload, and read the index while the job runs."""
    relay.simulator.processing_s = 100.0
    relay.upload(KEY, upload_of(3))
    relay.tick()
    return relay.items.unfinished()


@pytest.mark.parametrize("when", ["running", "done"])
def test_an_index_that_is_behind_does_not_bring_an_older_status_back(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    behind = running(relay)
    if when == "done":
        while relay.items.unfinished().jobs[0].status != "DONE":
            relay.tick()
        behind = relay.items.unfinished()
    relay.finish()
    before = relay.read(KEY, "status.json")

    monkeypatch.setattr(relay.poll.items, "unfinished", lambda _has_time: behind)
    assert relay.tick().passed_over == 0

    assert status(relay)["status"] == "DONE"
    assert relay.read(KEY, "status.json") == before


@pytest.mark.parametrize("call", ["put", "archive"])
@pytest.mark.parametrize("after", [False, True])
def test_a_poll_that_dies_with_the_last_status_leaves_it_to_the_next(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    running(relay)
    door: Any = relay.poll.files if call == "put" else relay.poll.items
    real = getattr(door, call)

    def dying(*told: Any) -> None:
        if call == "archive" or b'"DONE"' in told[1]:
            if after:
                real(*told)
            raise DeadError
        real(*told)

    monkeypatch.setattr(door, call, dying)
    with pytest.raises(DeadError):
        relay.finish()
    monkeypatch.setattr(door, call, real)
    relay.finish()

    assert (status(relay)["status"], status(relay)["batches"]) == ("DONE", {})
    assert relay.items.unfinished().jobs == []


class DeadError(BaseException):
    """The process is gone: no `except Exception` sees it."""


def test_a_status_is_written_once_for_each_change(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(relay)
    first, written = status(relay), list[bytes]()
    real = relay.poll.files.put

    def counted(key: str, body: bytes) -> None:
        written.append(body)
        real(key, body)

    monkeypatch.setattr(relay.poll.files, "put", counted)
    for _ in range(3):
        relay.tick(1)

    assert (first["status"], first["batches"]) == ("RUNNING", {"WAITING": 1})
    assert status(relay)["batches"] == {"IN_PROGRESS": 1}
    assert len(written) == 1
