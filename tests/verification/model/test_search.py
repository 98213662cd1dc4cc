"""Search with one disturbance at every call of a small job: every run ends correctly."""

from dataclasses import replace
from typing import Any

import pytest

from functions.adapters import table
from functions.adapters.work_items import WorkItems
from functions.model.items.batch import Batch
from functions.model.items.job import JobStatus
from functions.model.items.work_item import Step
from functions.polling import reconcile, recover
from functions.sending import send
from tests.verification.model.sample import search_result
from tests.verification.model.scenarios import ALL, PLAIN, SPLIT, Scenario
from tests.verification.model.search import Search

pytestmark = pytest.mark.xdist_group("model")  # the search runs once in a process


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_every_run_ends_and_every_item_has_one_owner_at_a_time(scenario: Scenario) -> None:
    result = search_result(scenario)

    assert result.violations == []
    assert result.recoverable == result.states > 100
    assert result.ends >= 5


def test_a_late_create_can_be_accepted_twice() -> None:
    assert search_result(PLAIN).checker.repeated_acceptances > 0


def _start_assembly_too_early(self: WorkItems, job_id: str) -> bool:
    job = self.job(job_id)
    if job is None or job.status != JobStatus.RUNNING:
        return False
    changes = {"status": JobStatus.ASSEMBLING, "next_step": Step.ASSEMBLE}
    return self.transition(job, changes, expected={"status": JobStatus.RUNNING})


def _intend_without_owner(items: WorkItems, batch: Any, fingerprint: str) -> Any:
    changes = {
        "status": "SENDING",
        "intent_at": batch.status_key[-24:],
        "fingerprint": fingerprint,
    }
    items.transition(batch, changes, keep_lease=True)
    return items.batch(batch.job, batch.item)


@pytest.mark.parametrize(
    ("target", "name", "violations", "result"),
    [
        (table, "_LEASE_IS_FREE", "attribute_exists(job)", "has two owners"),
        (Batch, "is_idle", lambda *_: True, "poll moved"),
        (recover, "_mark_unconfirmed", lambda *_: None, "never finishes"),
        (reconcile, "_matches", lambda *_: [], "without a late create"),
        (reconcile, "_count_reconcile_miss", lambda *_: None, "never finishes"),
        (WorkItems, "start_assembly_if_complete", _start_assembly_too_early, "is assembled with"),
        (send, "_intend", _intend_without_owner, "send moved"),
    ],
)
def test_the_search_detects_injected_bugs(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, violations: Any, result: str
) -> None:
    monkeypatch.setattr(target, name, violations)
    scenario = SPLIT if target is send else replace(PLAIN, rows=("answered",))
    kinds = frozenset({"freeze", "crash", "lost", "hidden"})

    (violation, *_) = Search(replace(scenario, faults=kinds), 1).run().violations or ["nothing"]

    assert result in violation
