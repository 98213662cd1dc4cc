"""The last status.json says that the job is done, whatever happened in between."""

import json
from typing import Any

import pytest

from functions.model.records import Unfinished
from tests.harness import Harness, make_upload

KEY = "in/march.jsonl"


def status(relay: Harness) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(relay.read(KEY, "status.json"))
    return document


def unfinished_while_running(relay: Harness) -> Unfinished:
    """Upload a file; return the unfinished items while its job runs."""
    relay.simulator.processing_s = 100.0
    relay.upload(KEY, make_upload(3))
    relay.tick()
    return relay.items.unfinished()


@pytest.mark.parametrize("when", ["running", "done"])
def test_a_stale_index_does_not_restore_an_older_status(
    relay: Harness, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    stale = unfinished_while_running(relay)
    if when == "done":
        while relay.items.unfinished().jobs[0].status != "DONE":
            relay.tick()
        stale = relay.items.unfinished()
    relay.finish()
    status_before = relay.read(KEY, "status.json")

    monkeypatch.setattr(relay.poll.items, "unfinished", lambda _has_time: stale)
    assert relay.tick().passed_over == 0

    assert status(relay)["status"] == "DONE"
    assert relay.read(KEY, "status.json") == status_before


@pytest.mark.parametrize("call", ["put", "archive"])
@pytest.mark.parametrize("after", [False, True])
def test_the_next_poll_writes_the_last_status_after_a_crash(
    relay: Harness,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    unfinished_while_running(relay)
    service: Any = relay.poll.files if call == "put" else relay.poll.items
    real = getattr(service, call)

    def write_or_die(*arguments: Any) -> None:
        if call == "archive" or b'"DONE"' in arguments[1]:
            if after:
                real(*arguments)
            raise ProcessKilledError
        real(*arguments)

    monkeypatch.setattr(service, call, write_or_die)
    with pytest.raises(ProcessKilledError):
        relay.finish()
    monkeypatch.setattr(service, call, real)
    relay.finish()

    assert (status(relay)["status"], status(relay)["batches"]) == ("DONE", {})
    assert relay.items.unfinished().jobs == []


class ProcessKilledError(BaseException):
    """The process was killed; `except Exception` does not catch this."""


def test_a_status_is_written_once_for_each_change(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished_while_running(relay)
    first_status, written_bodies = status(relay), list[bytes]()
    real = relay.poll.files.put

    def count_and_put(key: str, body: bytes) -> None:
        written_bodies.append(body)
        real(key, body)

    monkeypatch.setattr(relay.poll.files, "put", count_and_put)
    for _ in range(3):
        relay.tick(1)

    assert (first_status["status"], first_status["batches"]) == ("RUNNING", {"WAITING": 1})
    assert status(relay)["batches"] == {"IN_PROGRESS": 1}
    assert len(written_bodies) == 1
