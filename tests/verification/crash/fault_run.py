"""Run a job under faults of the API until it ends, and check the promises row by row."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions.model.ids import job_id
from tests.harness import UPLOADS, make_row
from tests.verification.crash.call_counter import InjectedFault
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.final_state import FinalState, ResultsWatcher, RunIds, find_leftovers
from tests.verification.crash.job_run import TICK_S
from tests.verification.crash.jobs import KEY, JobSpec, no_faults

PATIENT_TICKS, SLOW_S, TICKS = 30, 5400.0, 90
"""After this many polls the clock runs faster: a missing batch is given up only after a day."""
KEYS = {"sk-local": "default", "sk-second": "default", "sk-other": "other"}

Action = Callable[[CrashHarness], "str | None"]
"""Something to do between two polls; it returns a problem, if it finds one."""


@dataclass
class FaultRun:
    """One run.

    Attributes:
        changed_outcomes: Rows that ended differently from the baseline, by outcome.
        requests_repeated: Requests that were accepted more often than in the baseline.
        event_counts: The number of events of each type; repeated ids count once.
    """

    ticks: int = 0
    calls: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    changed_outcomes: Counter[str] = field(default_factory=Counter)
    rows_lost: int = 0
    requests_repeated: int = 0
    event_counts: Counter[str] = field(default_factory=Counter)
    final_state: FinalState | None = None
    faults_injected: int = 0


def small_job() -> JobSpec:
    """Return an upload of two equal chunks; one row is sent twice, and one is rejected."""
    rows = [make_row(n, "[fate:expired] march" if n == 3 else "march") for n in range(1, 5)]
    rows.append(b'{"custom_id": "row-5"}')
    return JobSpec(rows, ["succeeded"] * 4 + ["rejected"], [1, 1, 2, 1, 0], requests_per_batch=2)


def run_job_with_faults(
    relay: CrashHarness,
    job: JobSpec,
    expected: FinalState | None,
    arm: Callable[[CrashHarness], None] = no_faults,
    actions: Mapping[int, Action] | None = None,
    faults: Sequence[InjectedFault] = (),
) -> FaultRun:
    """Run a job, and compare it with the baseline."""
    _reset_simulator(relay)
    arm(relay)
    relay.call_counter.plan_faults(faults)
    event = relay.put(KEY, job.body)
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    watcher = ResultsWatcher(relay, RunIds(job_id(UPLOADS, KEY, version), version), None)
    relay.inspect = watcher.inspect
    run = FaultRun()
    relay.submit_message(event)
    _run_ticks(relay, run, actions or {})
    run.calls, run.faults_injected = (
        [*relay.call_counter.calls],
        relay.call_counter.faults_injected,
    )
    run.problems += [*watcher.problems, *_unfinished(relay), *find_leftovers(relay)]
    run.final_state = FinalState.of(relay, watcher.run_ids)
    run.problems += [f"billed but not delivered: row {row}" for row in run.final_state.undelivered]
    _check(run, run.final_state, expected)
    return run


def _reset_simulator(relay: CrashHarness) -> None:
    relay.key, relay.simulator.keys, relay.simulator.processing_s = "sk-local", {**KEYS}, 0.0
    relay.start_over()


def _run_ticks(relay: CrashHarness, run: FaultRun, actions: Mapping[int, Action]) -> None:
    while run.ticks < TICKS and (_unfinished(relay) or run.ticks <= max(actions, default=-1)):
        if (action := actions.get(run.ticks)) and (problem := action(relay)):
            run.problems.append(problem)
        relay.tick(TICK_S if run.ticks < PATIENT_TICKS else SLOW_S)
        run.ticks += 1


def _unfinished(relay: CrashHarness) -> list[str]:
    unfinished = relay.items.unfinished()
    waiting = [
        *unfinished.jobs,
        *unfinished.batches,
        *unfinished.events,
        *unfinished.duplicates,
        *relay.redeliveries,
    ]
    paused = [] if relay.circuit.read().paused_reason is None or waiting else ["sending"]
    return [f"never finishes: {item!r}" for item in [*waiting, *paused]]


def _check(run: FaultRun, final_state: FinalState, expected: FinalState | None) -> None:
    run.problems += [
        f"{name} was delivered with different contents" for name in final_state.inconsistent_events
    ]
    run.event_counts = Counter(final_state.event_counts)
    if run.event_counts["job.completed"] != 1:
        run.problems.append(f"{run.event_counts['job.completed']} job.completed events")
    if run.event_counts["sending.paused"] != run.event_counts["sending.resumed"]:
        run.problems.append("sending was paused more often than resumed")
    if (
        missing_files := {"results.jsonl", "errors.jsonl", "manifest.json"}
        - final_state.files.keys()
    ):
        run.problems.append(f"missing: {', '.join(sorted(missing_files))}")
        return
    run.problems += _check_counts(final_state)
    if expected is not None:
        run.rows_lost = final_state.rows_lost(expected)
        run.requests_repeated = (Counter(final_state.params) - Counter(expected.params)).total()
        run.problems += [] if final_state.rows == expected.rows else [f"rows {final_state.rows}"]
        pairs = zip(_lines(final_state), _lines(expected), strict=False)
        run.changed_outcomes = Counter(
            outcome_label(ours) for ours, theirs in pairs if ours != theirs
        )


def _check_counts(final_state: FinalState) -> list[str]:
    """Check that the three files agree: each row is counted once, and each failure is listed."""
    lines = _lines(final_state)
    manifest = json.loads(final_state.files["manifest.json"])
    failed_lines = [line for line in lines if json.loads(line)["result"]["type"] != "succeeded"]
    counts = Counter(json.loads(line)["result"]["type"] for line in lines)
    problems = [] if manifest["counts"] == dict(counts) else [f"counted {manifest['counts']}"]
    error_lines = final_state.files["errors.jsonl"].splitlines()
    return (
        problems
        if error_lines == failed_lines
        else [*problems, "errors.jsonl does not list the failed rows"]
    )


def _lines(final_state: FinalState) -> list[bytes]:
    return final_state.files["results.jsonl"].splitlines()


def outcome_label(line: bytes) -> str:
    """Return how a row ended: its type, and the type of its error."""
    result: dict[str, Any] = json.loads(line)["result"]
    if result["type"] == "errored":
        error = result["error"]["error"]
        return f"errored {error['type']}" if error.get("message") else "errored without a message"
    return (
        f"rejected {result['error']['code']}" if result["type"] == "rejected" else result["type"]
    )
