"""A job under Claude's faults: run to its end, however long that takes, and held to the promises row by row."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from functions.model.ids import job_id
from tests.harness import UPLOADS, request
from tests.verification.crash.call_counter import Strike
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.ending import Ending, Names, Watcher, left_behind
from tests.verification.crash.job_run import KEY, TICK_S
from tests.verification.crash.jobs import Job, nothing

PATIENT_TICKS, SLOW_S, TICKS = 30, 5400.0, 90
"""After so many polls, the clock goes faster: a batch that is gone is given up only after a day."""
KEYS = {"sk-local": "default", "sk-second": "default", "sk-other": "other"}

Act = Callable[[CrashHarness], "str | None"]
"""Something that happens between two polls; it says what is wrong, if it looks at anything."""


@dataclass
class Run:
    """One run.

    Attributes:
        changed: rows that ended otherwise than in the undisturbed run, by how they did.
        extra: requests that were accepted more often than in the undisturbed run.
        told: how many events of each type, each id once.
    """

    ticks: int = 0
    calls: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    extra: int = 0
    told: Counter[str] = field(default_factory=Counter)
    ending: Ending | None = None
    struck: int = 0


def small() -> Job:
    """Make an upload of two chunks of one size: a row is sent twice, and one never."""
    rows = [request(n, "[fate:expired] march" if n == 3 else "march") for n in range(1, 5)]
    rows.append(b'{"custom_id": "row-5"}')
    return Job(rows, ["succeeded"] * 4 + ["rejected"], [1, 1, 2, 1, 0], requests_per_batch=2)


def drive(
    relay: CrashHarness,
    job: Job,
    expected: Ending | None,
    arm: Callable[[CrashHarness], None] = nothing,
    acts: Mapping[int, Act] | None = None,
    strikes: Sequence[Strike] = (),
) -> Run:
    """Run a job through."""
    _begin(relay)
    arm(relay)
    relay.call_counter.plan_strikes(strikes)
    event = relay.put(KEY, job.body)
    version = json.loads(event)["Records"][0]["s3"]["object"]["versionId"]
    watcher = Watcher(relay, Names(job_id(UPLOADS, KEY, version), version), None)
    relay.look = watcher.look
    run = Run()
    relay.submit_message(event)
    _tick(relay, run, acts or {})
    run.calls, run.struck = [*relay.call_counter.calls], relay.call_counter.struck
    run.wrong += [*watcher.wrong, *_unfinished(relay), *left_behind(relay)]
    run.ending = Ending.of(relay, watcher.names)
    run.wrong += [f"paid for and not delivered: row {row}" for row in run.ending.undelivered]
    _judge(run, run.ending, expected)
    return run


def _begin(relay: CrashHarness) -> None:
    relay.key, relay.simulator.keys, relay.simulator.processing_s = "sk-local", {**KEYS}, 0.0
    relay.start_over()


def _tick(relay: CrashHarness, run: Run, acts: Mapping[int, Act]) -> None:
    while run.ticks < TICKS and (_unfinished(relay) or run.ticks <= max(acts, default=-1)):
        if (act := acts.get(run.ticks)) and (wrong := act(relay)):
            run.wrong.append(wrong)
        relay.tick(TICK_S if run.ticks < PATIENT_TICKS else SLOW_S)
        run.ticks += 1


def _unfinished(relay: CrashHarness) -> list[str]:
    left = relay.items.unfinished()
    more = [*left.jobs, *left.batches, *left.events, *left.duplicates, *relay.again]
    paused = [] if relay.circuit.read().paused_reason is None or more else ["sending"]
    return [f"waits for ever: {one!r}" for one in [*more, *paused]]


def _judge(run: Run, ending: Ending, expected: Ending | None) -> None:
    run.wrong += [f"{name} has two contents" for name in ending.torn]
    run.told = Counter(ending.told)
    if run.told["job.completed"] != 1:
        run.wrong.append(f"job.completed under {run.told['job.completed']} ids")
    if run.told["sending.paused"] != run.told["sending.resumed"]:
        run.wrong.append("paused, and not resumed as often")
    if missing := {"results.jsonl", "errors.jsonl", "manifest.json"} - ending.files.keys():
        run.wrong.append(f"no {', '.join(sorted(missing))}")
        return
    run.wrong += _accounted(ending)
    if expected is not None:
        run.lost = ending.rows_lost(expected)
        run.extra = (Counter(ending.params) - Counter(expected.params)).total()
        run.wrong += [] if ending.rows == expected.rows else [f"rows {ending.rows}"]
        pairs = zip(_lines(ending), _lines(expected), strict=False)
        run.changed = Counter(label(ours) for ours, theirs in pairs if ours != theirs)


def _accounted(ending: Ending) -> list[str]:
    """Hold the three files to one another: each row counted once, and each failure told."""
    lines = _lines(ending)
    manifest = json.loads(ending.files["manifest.json"])
    failed = [line for line in lines if json.loads(line)["result"]["type"] != "succeeded"]
    found = Counter(json.loads(line)["result"]["type"] for line in lines)
    wrong = [] if manifest["counts"] == dict(found) else [f"counted {manifest['counts']}"]
    told = ending.files["errors.jsonl"].splitlines()
    return wrong if told == failed else [*wrong, "errors.jsonl is not what failed"]


def _lines(ending: Ending) -> list[bytes]:
    return ending.files["results.jsonl"].splitlines()


def label(line: bytes) -> str:
    """Say how a row ended: its type, and the type of its error."""
    result: dict[str, Any] = json.loads(line)["result"]
    if result["type"] == "errored":
        error = result["error"]["error"]
        return f"errored {error['type']}" if error.get("message") else "errored without a sentence"
    return (
        f"rejected {result['error']['code']}" if result["type"] == "rejected" else result["type"]
    )
