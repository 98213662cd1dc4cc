"""All that may go wrong once, at every call of a small job: each run ends, and what must hold does."""

from dataclasses import replace
from typing import Any

import pytest

from functions.adapters import table
from functions.adapters.work_items import WorkItems
from functions.model.items import Batch, JobStatus, Step
from functions.polling import reconcile, recover
from functions.sending import send
from tests.verification.model.scenarios import ALL, PLAIN, SPLIT, Scenario
from tests.verification.model.search import Found, Search

FEWER = frozenset({"crash", "cancel"})
"""What happens to the jobs whose files are unreadable; the full campaign lets everything happen to them."""
_found: dict[str, Found] = {}


def found(scenario: Scenario) -> Found:
    """Search a scenario, once for all tests."""
    if scenario.name not in _found:
        fewer = scenario if scenario.poison is None else replace(scenario, faults=FEWER)
        _found[scenario.name] = Search(fewer, 1).run()
    return _found[scenario.name]


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_every_run_ends_and_nothing_is_moved_by_two_hands(scenario: Scenario) -> None:
    seen = found(scenario)

    assert seen.broken == []
    assert seen.recoverable == seen.states > 100
    assert seen.ends >= 5


def test_a_request_is_accepted_twice_only_by_who_was_late() -> None:
    assert found(PLAIN).moves.paid_again > 0


def _settles_at_once(self: WorkItems, job_id: str) -> bool:
    job = self.job(job_id)
    if job is None or job.status != JobStatus.RUNNING:
        return False
    changes = {"status": JobStatus.ASSEMBLING, "next_step": Step.ASSEMBLE}
    return self.transition(job, changes, expected={"status": JobStatus.RUNNING})


def _as_whoever_owns_it(items: WorkItems, batch: Any, fingerprint: str) -> Any:
    changes = {
        "status": "SENDING",
        "intent_at": batch.status_key[-24:],
        "fingerprint": fingerprint,
    }
    items.transition(batch, changes, keep_lease=True)
    return items.batch(batch.job, batch.item)


@pytest.mark.parametrize(
    ("where", "name", "broken", "seen"),
    [
        (table, "_LEASE_IS_FREE", "attribute_exists(job)", "has two owners"),
        (Batch, "is_idle", lambda *_: True, "poll moved"),
        (recover, "_mark_unconfirmed", lambda *_: None, "waits for ever"),
        (reconcile, "_matches", lambda *_: [], "nobody was late"),
        (reconcile, "_count_reconcile_miss", lambda *_: None, "waits for ever"),
        (WorkItems, "start_assembly_if_complete", _settles_at_once, "is assembled with"),
        (send, "_intend", _as_whoever_owns_it, "send moved"),
    ],
)
def test_the_search_sees_what_is_broken(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, broken: Any, seen: str
) -> None:
    monkeypatch.setattr(where, name, broken)
    scenario = SPLIT if where is send else PLAIN
    kinds = frozenset({"freeze", "crash", "lost", "hidden"})

    (violation, *_) = Search(replace(scenario, faults=kinds), 1).run().broken or ["nothing"]

    assert seen in violation
