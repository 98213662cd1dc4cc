"""Reconciliation for one batch finds a Message Batch that belongs to another."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from functions.adapters.adopt import adopt
from functions.adapters.queues import work_message_for
from functions.adapters.work_items import WorkItems
from functions.model.create_response import Accepted, MessageBatch
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.records import FOREIGN
from tests.harness import Harness, make_upload
from tests.integration.test_cost_ledger import read_ledger
from tests.integration.test_stack_budgets import spent_usd

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"


class ProcessKilledError(BaseException):
    """The process was killed; `except Exception` does not catch this."""


def test_reconciliation_adopts_a_batch_that_another_stage_is_still_sending(relay: Harness) -> None:
    """The create was accepted, but its stage holds the lease and was killed."""
    relay.upload(KEY, make_upload(2))
    _kill_during_send(relay, accepted=True)
    sending_batch = _batch(relay, KEY)
    relay.upload(OTHER, make_upload(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    adopted = _batch(relay, KEY)
    assert [batch.status for batch in (sending_batch, adopted)] == ["SENDING", "IN_PROGRESS"]
    assert adopted.batch_id == _batch_ids(relay)[0]
    relay.finish()
    assert _accepted_counts(relay) == {1}
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def test_reconciliation_adopts_a_batch_that_was_declared_absent_and_waits(relay: Harness) -> None:
    """The create was delayed, and its stage was killed before the answer."""
    relay.upload(KEY, make_upload(2))
    _kill_during_send(relay, accepted=False)
    while (waiting_batch := _batch(relay, KEY)).status != "WAITING":
        relay.tick(200)
    _create_unrecorded(relay, waiting_batch)
    relay.upload(OTHER, make_upload(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    adopted = _batch(relay, KEY)
    assert (adopted.status, adopted.batch_id) == ("IN_PROGRESS", _batch_ids(relay)[0])
    relay.finish()
    assert _accepted_counts(relay) == {1}
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def test_reconciliation_replaces_a_newer_batch_by_an_older_one(relay: Harness) -> None:
    """The requests were sent again while their first batch was not visible; that one has ended."""
    relay.simulator.processing_s = 600.0
    relay.upload(KEY, make_upload(2))
    older_id = _create_unrecorded(relay, _batch(relay, KEY))
    relay.tick()
    newer_id = _batch(relay, KEY).batch_id
    relay.simulator.end(older_id)
    relay.upload(OTHER, make_upload(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    adopted = _batch(relay, KEY)
    assert newer_id not in {None, older_id}
    assert (adopted.status, adopted.batch_id) == ("IN_PROGRESS", older_id)
    assert [relay.tick().duplicates, relay.tick().duplicates] == [1, 0]
    relay.finish(60)
    (canceled,) = (batch for batch in relay.simulator.batches() if batch["cancel_initiated_at"])
    assert canceled["id"] == newer_id
    manifest = relay.manifest(KEY)
    assert [batch["batch_id"] for batch in manifest["batches"]] == [older_id]
    assert manifest["cost_usd"] is None
    assert manifest["cost_usd_known"] > 0
    assert "2 rows were sent again" in manifest["prices"]["problem"]
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def test_rows_that_were_sent_three_times_count_twice_as_sent_again(relay: Harness) -> None:
    relay.simulator.processing_s = 600.0
    relay.upload(KEY, make_upload(2))
    older = _create(relay, _batch(relay, KEY))
    relay.tick()
    recorded = _batch(relay, KEY)

    for message_batch in (older, _create(relay, recorded), older):
        adopt(relay.items, relay.ownership, recorded, message_batch)
    relay.finish(60)

    manifest = relay.manifest(KEY)
    assert [batch["batch_id"] for batch in manifest["batches"]] == [older.id]
    assert "4 rows were sent again" in manifest["prices"]["problem"]


def test_a_duplicate_found_after_its_job_has_ended_is_in_the_ledger(relay: Harness) -> None:
    """The manifest is written, so the cost of the duplicate has a line of its own."""
    relay.moment = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
    relay.upload(KEY, make_upload(2))
    batch = _batch(relay, KEY)
    relay.finish()
    manifest = relay.manifest(KEY)
    assert spent_usd(relay) == {"2026-11-10": pytest.approx(manifest["cost_usd"], abs=2e-6)}

    verdict = _create(relay, batch)
    for _ in range(2):  # a repeated adoption changes nothing
        adopt(relay.items, relay.ownership, batch, verdict)
    assert relay.tick(601).duplicates == 1

    lines = read_ledger(relay)
    assert [(line["outcome"], line["cost_usd"]) for line in lines] == [
        ("succeeded", f"{manifest['cost_usd']:.6f}"),
        ("duplicate", ""),
    ]
    assert verdict.id in lines[1]["cost_problem"]
    worst_usd = manifest["estimate"]["cost_usd"]["worst"]
    spent = manifest["cost_usd"] + worst_usd
    assert spent_usd(relay) == {"2026-11-10": pytest.approx(spent, abs=4e-6)}


def test_a_duplicate_found_while_assembly_begins_is_in_the_ledger(
    relay: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends between the read of its status and the write of the duplicate."""
    relay.moment = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
    relay.upload(KEY, make_upload(2))
    batch = _batch(relay, KEY)
    with monkeypatch.context() as patched:
        patched.setattr(WorkItems, "start_assembly_if_complete", lambda *_: False)
        for _ in range(6):
            relay.tick()
    assert _batch(relay, KEY).status == "COLLECTED"
    read_job = relay.items.job

    def read_job_before_it_ends(job_id: str) -> Job | None:
        monkeypatch.undo()
        job = read_job(job_id)
        relay.finish()
        return job

    verdict = _create(relay, batch)
    monkeypatch.setattr(relay.items, "job", read_job_before_it_ends)
    adopt(relay.items, relay.ownership, batch, verdict)
    relay.tick(601)

    assert relay.manifest(KEY)["cost_usd"] is not None
    assert [line["outcome"] for line in read_ledger(relay)] == ["succeeded", "duplicate"]


def test_each_of_several_duplicates_is_counted_once(relay: Harness) -> None:
    relay.moment = datetime(2026, 11, 10, 12, 0, tzinfo=UTC)
    relay.upload(KEY, make_upload(2))
    batch = _batch(relay, KEY)
    relay.finish()
    manifest = relay.manifest(KEY)

    first, second = _create(relay, batch), _create(relay, batch)
    for duplicate in (first, second, first):
        adopt(relay.items, relay.ownership, batch, duplicate)
        relay.tick(601)

    lines = read_ledger(relay)
    assert [line["outcome"] for line in lines] == ["succeeded", "duplicate", "duplicate"]
    spent = manifest["cost_usd"] + 2 * manifest["estimate"]["cost_usd"]["worst"]
    assert spent_usd(relay) == {"2026-11-10": pytest.approx(spent, abs=4e-6)}


def test_a_duplicate_that_was_taken_for_foreign_is_canceled(relay: Harness) -> None:
    """Its create was answered after reconciliation had found no row of ours in it."""
    relay.simulator.processing_s = 3600.0
    relay.upload(KEY, make_upload(2))
    relay.tick()
    duplicate = _create(relay, _batch(relay, KEY))
    relay.ownership.record(relay.ownership.build(duplicate.id, FOREIGN))

    adopt(relay.items, relay.ownership, _batch(relay, KEY), duplicate)

    assert relay.tick(601).duplicates == 1
    assert [
        batch["id"] for batch in relay.simulator.batches() if batch["cancel_initiated_at"]
    ] == [duplicate.id]


def _batch(relay: Harness, key: str) -> Batch:
    """Return the only batch of an upload's job."""
    (job,) = (job for job in relay.items.unfinished().jobs if job.key == key)
    (batch,) = relay.items.batches(job.job)
    return batch


def _kill_during_send(relay: Harness, *, accepted: bool) -> None:
    """Kill the stage during its create, before it is sent or after it is accepted."""
    create = relay.submit.claude.create

    def create_and_die(*request: Any) -> Any:
        if accepted:
            create(*request)
        raise ProcessKilledError

    with (
        patch.object(relay.submit.claude, "create", create_and_die),
        pytest.raises(ProcessKilledError),
    ):
        relay.tick()


def _lose_the_answer(relay: Harness, key: str) -> None:
    """Send an upload's batch before poll's work message does; its answer is lost."""
    relay.simulator.arm("lost_answer")
    relay.submit_message(msgspec.json.encode(work_message_for(_batch(relay, key))).decode())
    assert _batch(relay, key).status == "UNCONFIRMED"


def _create_unrecorded(relay: Harness, batch: Batch) -> str:
    """Create a batch whose answer no stage receives; return its id."""
    return _create(relay, batch).id


def _create(relay: Harness, batch: Batch) -> MessageBatch:
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    assert isinstance(verdict, Accepted)
    return verdict.batch


def _batch_ids(relay: Harness) -> list[object]:
    """Return the ids of the Message Batches, oldest first."""
    return [batch["id"] for batch in reversed(relay.simulator.batches())]


def _accepted_counts(relay: Harness) -> set[int]:
    return set(relay.simulator.accepted_params().values())
