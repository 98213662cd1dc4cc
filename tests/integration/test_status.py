"""status.json says why the job waits, its progress, and finally that it is done, whatever happened in between."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from functions.model.unfinished import Unfinished
from tests.harness import Harness, make_row, make_upload, open_harness
from tests.integration.test_lost_parts import assembling, delete, run

KEY = "in/march.jsonl"
SCHEMA = Path(__file__).parents[2] / "docs" / "status.schema.json"


def status(relay: Harness, key: str = KEY) -> dict[str, Any]:
    """Read status.json, which always matches its schema."""
    document: dict[str, Any] = json.loads(relay.read(key, "status.json"))
    Draft202012Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(document)
    return document


def reasons(relay: Harness, key: str = KEY) -> list[str]:
    return [wait["reason"] for wait in status(relay, key)["waiting"]]


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


def test_the_schema_of_the_status_is_strict() -> None:
    schema = json.loads(SCHEMA.read_text("utf-8"))

    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == sorted(schema["properties"])


def test_the_status_follows_a_job_from_upload_to_results(relay: Harness) -> None:
    unfinished_while_running(relay)
    relay.tick(1)
    assert (reasons(relay), status(relay)["requests"]["processing"]) == (["answers"], 3)
    assert status(relay)["next_look_at"] == status(relay)["waiting"][0]["until"]

    relay.pass_time(100)
    relay.poll_once()
    assert reasons(relay) == [
        "answers"
    ]  # the index is read before the batch is seen to have ended
    relay.poll_once()
    assert (reasons(relay), status(relay)["requests"]["succeeded"]) == (["collecting"], 3)

    relay.finish()
    done = status(relay)
    assert (done["waiting"], done["next_look_at"], done["rows"]["succeeded"]) == ([], None, 3)
    assert done["cost_usd_known"] == relay.manifest(KEY)["cost_usd"]


def test_the_counts_and_the_cost_hold_over_attempts_and_outcomes(tmp_path: Path) -> None:
    with open_harness(tmp_path) as relay:
        relay.deploy(requests_per_batch=2)
        rows = [make_row(1), make_row(2, "[fate:expired]"), b"{}", make_row(4, "[fate:errored]")]
        relay.upload(KEY, b"\n".join(rows))
        relay.finish()

        manifest = relay.manifest(KEY)
        assert {name: n for name, n in status(relay)["rows"].items() if n} == manifest["counts"]
        assert status(relay)["cost_usd_known"] == pytest.approx(manifest["cost_usd"], abs=3e-6)


def test_deleted_results_that_are_fetched_again_count_once(relay: Harness) -> None:
    _, batches = assembling(relay, make_upload(3))
    delete(relay, *(batch.part.results.key for batch in batches if batch.part))
    relay.context.left_s = 900.0
    run(relay, days=2)
    relay.finish()

    assert relay.simulator.calls()["results"] > len(batches)
    assert status(relay)["rows"]["succeeded"] == 3


@pytest.mark.parametrize("limit", ["open_batches", "queued_requests"])
def test_a_job_without_room_says_so(relay: Harness, limit: str) -> None:
    relay.simulator.processing_s = 1000.0
    relay.deploy(requests_per_batch=1, **{limit: 1})
    relay.upload(KEY, make_upload(3))
    for _ in range(3):
        relay.tick(1)

    assert reasons(relay) == ["room", "answers"]


def test_a_folder_without_room_in_its_share_says_so(relay: Harness) -> None:
    relay.simulator.processing_s = 1000.0
    relay.put("_relay.toml", b"[shares]\nin = { open_batches = 1 }\n")
    relay.deploy(requests_per_batch=1)
    relay.upload(KEY, make_upload(3))
    for _ in range(3):
        relay.tick(1)

    assert reasons(relay) == ["share", "answers"]


def test_a_pause_is_written_once_however_often_poll_probes(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.key = "not-set-yet"
    relay.upload(KEY, make_upload(3))
    relay.tick()
    relay.tick()
    paused = status(relay)
    assert (reasons(relay), paused["waiting"][0]["since"]) == (
        ["no_key"],
        relay.circuit.read().paused_at,
    )

    written = list[str]()
    monkeypatch.setattr(relay.poll.files, "put", lambda key, *_: written.append(key))
    for _ in range(10):
        relay.tick()

    assert written == []
