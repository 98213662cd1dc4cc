"""The jobs that are struck."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.harness import request
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.ending import Ending

MB = 1_000_000


def nothing(_relay: CrashHarness) -> None:
    """Ask the simulator for no fault."""


@dataclass(frozen=True)
class Job:
    """An upload, and what is set for it.

    Attributes:
        rows: its lines.
        outcomes: how each row is to end.
        sent: how often each row is to be accepted.
        arm: the simulator's faults, armed before the upload.
    """

    rows: list[bytes]
    outcomes: list[str]
    sent: list[int]
    requests_per_batch: int
    arm: Callable[[CrashHarness], None] = nothing

    @property
    def body(self) -> bytes:
        return b"\n".join(self.rows)


def march() -> Job:
    """Make an upload of three chunks: a row is sent twice, and one never."""
    rows = [request(n, "[fate:expired] march" if n == 5 else "march") for n in range(1, 9)]
    rows[3] = b'{"custom_id": "row-4"}'
    outcomes = ["rejected" if n == 4 else "succeeded" for n in range(1, 9)]
    return Job(rows, outcomes, [1, 1, 1, 0, 2, 1, 1, 1], requests_per_batch=3)


def small() -> Job:
    """Make an upload of two chunks, the first of them sent twice: as little as has every step."""
    rows = [request(1, "[fate:expired] small"), request(2, "small")]
    return Job(rows, ["succeeded", "succeeded"], [2, 1], requests_per_batch=1)


def tiny() -> Job:
    """Make an upload of one row, sent twice: as little as has every step."""
    return Job([request(1, "[fate:expired] tiny")], ["succeeded"], [2], requests_per_batch=1)


def lost() -> Job:
    """Make the same, where a create's answer is lost while a stranger's batch of its size lies beside it."""

    def arm(relay: CrashHarness) -> None:
        _beside(relay, 3)
        relay.simulator.arm("lost_answer", endpoint="create")

    return replace(march(), arm=arm)


def beside() -> Job:
    """Make an upload of one row, sent twice, while a stranger's batch of its size lies beside it."""
    return replace(tiny(), arm=lambda relay: _beside(relay, 1))


def unconfirmed() -> Job:
    """Make the same, where the answer to the first create is lost."""

    def arm(relay: CrashHarness) -> None:
        _beside(relay, 1)
        relay.simulator.arm("lost_answer", endpoint="create")

    return replace(tiny(), arm=arm)


def _beside(relay: CrashHarness, requests: int) -> None:
    relay.simulator.add_foreign(requests)


def halved() -> Job:
    """Make an upload of one chunk that is refused, and halved, and then taken."""

    def arm(relay: CrashHarness) -> None:
        relay.simulator.arm("too_large", times=0, more_than=1)

    rows = [request(1, "half"), request(2, "half")]
    return Job(rows, ["succeeded"] * 2, [1, 1], requests_per_batch=2, arm=arm)


def refused() -> Job:
    """Make an upload of one row, which is refused."""

    def arm(relay: CrashHarness) -> None:
        relay.simulator.arm("refuse_matching", times=0, contains="refused")

    return Job([request(1, "refused")], ["rejected"], [0], requests_per_batch=1, arm=arm)


def large() -> Job:
    """Make an upload of two chunks, whose rejected rows are too large for one block or one part."""
    rows = [request(1), _refused(9 * MB), request(3), _refused(6 * MB)]
    outcomes = ["succeeded", "rejected", "succeeded", "rejected"]
    return Job(rows, outcomes, [1, 0, 1, 0], requests_per_batch=2)


def _refused(size_bytes: int) -> bytes:
    return b'{"custom_id": "large", "prompt": "' + b"x" * size_bytes + b'"}'


def unlike_what_was_asked(job: Job, ending: Ending | None) -> list[str]:
    """Say what is wrong with an undisturbed run: it is the measure of all others."""
    if ending is None:
        return ["undisturbed: no end"]
    lines = [json.loads(line) for line in ending.files["results.jsonl"].splitlines()]
    found = [(line["row"], line["result"]["type"]) for line in lines]
    wanted = [*enumerate(job.outcomes, 1)]
    accepted = {
        hashlib.sha256(row.partition(b'"params": ')[2][:-1]).hexdigest(): sent
        for row, sent in zip(job.rows, job.sent, strict=True)
        if sent
    }
    wrong = [] if found == wanted else [f"undisturbed: rows {found}"]
    wrong += [] if ending.params == accepted else ["undisturbed: accepted otherwise than asked"]
    completed = ending.events.get("JOB/ended", set())
    wrong += [] if len(completed) == 1 else ["undisturbed: no event of its end"]
    wrong += [] if json.loads(ending.files["status.json"])["status"] == "DONE" else ["not DONE"]
    return wrong
