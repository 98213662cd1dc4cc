"""A proof that nobody asked for: poll looks into a Message Batch for the sake of one batch, and it is another's."""

from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from functions.adapters.queues import work_message_for
from functions.model.create_response import Accepted
from functions.model.items import Batch
from tests.harness import Harness, upload_of

KEY, OTHER = "in/march.jsonl", "in/april.jsonl"


class DeadError(BaseException):
    """The process is gone: no `except Exception` sees it."""


def test_a_proof_moves_a_batch_that_a_stage_has_not_done_sending(relay: Harness) -> None:
    """Its create was accepted, and the stage that made it holds its lease, and is silent."""
    relay.upload(KEY, upload_of(2))
    _die_sending(relay, accepted=True)
    sending = _batch(relay, KEY)
    relay.upload(OTHER, upload_of(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    proved = _batch(relay, KEY)
    assert [one.status for one in (sending, proved)] == ["SENDING", "IN_PROGRESS"]
    assert proved.batch_id == _created(relay)[0]
    relay.finish()
    assert _accepted(relay) == {1}
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def test_a_proof_moves_a_batch_that_was_proved_absent_and_waits(relay: Harness) -> None:
    """Its create stood still before it went out, and nobody lived to hear the answer."""
    relay.upload(KEY, upload_of(2))
    _die_sending(relay, accepted=False)
    while (waiting := _batch(relay, KEY)).status != "WAITING":
        relay.tick(200)
    _create(relay, waiting)
    relay.upload(OTHER, upload_of(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    proved = _batch(relay, KEY)
    assert (proved.status, proved.batch_id) == ("IN_PROGRESS", _created(relay)[0])
    relay.finish()
    assert _accepted(relay) == {1}
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def test_a_proof_puts_the_older_of_two_in_the_place_of_the_newer(relay: Harness) -> None:
    """It was sent again while its first batch could not be seen; that one has ended, and is ours."""
    relay.simulator.processing_s = 600.0
    relay.upload(KEY, upload_of(2))
    older = _create(relay, _batch(relay, KEY))
    relay.tick()
    newer = _batch(relay, KEY).batch_id
    relay.simulator.end(older)
    relay.upload(OTHER, upload_of(2, "april"))
    _lose_the_answer(relay, OTHER)

    relay.tick()

    proved = _batch(relay, KEY)
    assert newer not in {None, older}
    assert (proved.status, proved.batch_id) == ("IN_PROGRESS", older)
    assert [relay.tick().duplicates, relay.tick().duplicates] == [1, 0]
    relay.finish(60)
    (canceled,) = (one for one in relay.simulator.batches() if one["cancel_initiated_at"])
    assert canceled["id"] == newer
    assert [one["batch_id"] for one in relay.manifest(KEY)["batches"]] == [older]
    assert [len(relay.lines(key)) for key in (KEY, OTHER)] == [2, 2]


def _batch(relay: Harness, key: str) -> Batch:
    """Read the one batch of an upload's job."""
    (job,) = (job for job in relay.items.unfinished().jobs if job.key == key)
    (batch,) = relay.items.batches(job.job)
    return batch


def _die_sending(relay: Harness, *, accepted: bool) -> None:
    """Let the stage die with its create, before that goes out or when it is accepted."""
    create = relay.submit.claude.create

    def dying(*request: Any) -> Any:
        if accepted:
            create(*request)
        raise DeadError

    with patch.object(relay.submit.claude, "create", dying), pytest.raises(DeadError):
        relay.tick()


def _lose_the_answer(relay: Harness, key: str) -> None:
    """Send an upload's batch, by a work message that comes before poll's; the answer is lost."""
    relay.simulator.arm("lost_answer")
    relay.submit_message(msgspec.json.encode(work_message_for(_batch(relay, key))).decode())
    assert _batch(relay, key).status == "UNCONFIRMED"


def _create(relay: Harness, batch: Batch) -> str:
    """Let a create of a batch go out, of which no stage hears; gives its Message Batch."""
    body = relay.submit.files.read(relay.submit.files.results_object(batch.requests_key))
    verdict = relay.submit.claude.create(body, batch.size_bytes, "2026-10-21")
    assert isinstance(verdict, Accepted)
    return verdict.batch.id


def _created(relay: Harness) -> list[object]:
    """Name the Message Batches, oldest first."""
    return [one["id"] for one in reversed(relay.simulator.batches())]


def _accepted(relay: Harness) -> set[int]:
    return set(relay.simulator.accepted_params().values())
