"""The jobs that the campaigns run."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tests.harness import make_row
from tests.integration.upload_kinds import FAILING_ROW, KINDS, ROWS
from tests.verification.crash.crash_harness import CrashHarness
from tests.verification.crash.final_state import FinalState

MB = 1_000_000
HALF_PRICES = {"claude-haiku-4-5": (0.5, 2.5), "claude-haiku-5-5": (0.05, 0.25)}
"""US dollars per million tokens of input and of output, so millionths of a dollar per token."""
KEY = "in/march.jsonl"
OPTIONS_KEY = "in/_relay.toml"


def no_faults(_relay: CrashHarness) -> None:
    """Arm no fault."""


@dataclass(frozen=True)
class JobSpec:
    """An upload and its settings.

    Attributes:
        rows: The lines of the upload.
        outcomes: The expected outcome of each row.
        times_accepted: How often each row should be accepted; 0 for a copy of a row.
        also_accepted: Other params that should be accepted once.
        requests_per_batch: The setting of that name.
        arm: Arms faults of the simulator before the upload.
        key: The upload's key.
        file: The upload, if it is not its rows, one a line.
        options: The options file of its folder; empty for none.
        waits: Whether the options file arrives only when the job waits for it.
        budgets: Settings of the stack's budgets.
        is_held: Whether the job is held until a go marker arrives.
    """

    rows: list[bytes]
    outcomes: list[str]
    times_accepted: list[int]
    requests_per_batch: int
    arm: Callable[[CrashHarness], None] = no_faults
    key: str = KEY
    file: bytes | None = None
    options: bytes = b""
    waits: bool = False
    budgets: Mapping[str, int] = field(default_factory=dict)
    is_held: bool = False
    also_accepted: Sequence[bytes] = ()

    @property
    def body(self) -> bytes:
        return b"\n".join(self.rows) if self.file is None else self.file


def three_chunks() -> JobSpec:
    """Return an upload of three chunks; one row is sent twice, and one is rejected."""
    rows = [make_row(n, "[fate:expired] march" if n == 5 else "march") for n in range(1, 9)]
    rows[3] = b'{"custom_id": "row-4"}'
    outcomes = ["rejected" if n == 4 else "succeeded" for n in range(1, 9)]
    return JobSpec(rows, outcomes, [1, 1, 1, 0, 2, 1, 1, 1], requests_per_batch=3)


def two_chunks() -> JobSpec:
    """Return an upload of two chunks, of which one is sent twice: a small job with every step."""
    rows = [make_row(1, "[fate:expired] small"), make_row(2, "small")]
    return JobSpec(rows, ["succeeded", "succeeded"], [2, 1], requests_per_batch=1)


def held_job() -> JobSpec:
    """Return three chunks that exceed their budget, and wait for a marker, under a budget of the day.

    Each row may cost 0.15 dollars, so two chunks fit the day's budget of one dollar until one of them is collected.
    """
    options, budgets = b"budget_usd = 0.000001", {"day_budget_usd": 1}
    job = three_chunks()
    rows = [row.replace(b'"max_tokens": 64', b'"max_tokens": 60000') for row in job.rows]
    return replace(job, rows=rows, options=options, budgets=budgets, is_held=True)


def warmed_job() -> JobSpec:
    """Return an upload whose rows share a long prefix: the first is sent alone, and the others wait for it."""
    system = [
        {"type": "text", "text": "x" * 2_400, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ]
    rows = [make_row(n, model="claude-opus-5", system=system) for n in range(1, 5)]
    options = b"warm_cache = true"
    return JobSpec(rows, ["succeeded"] * 4, [1] * 4, requests_per_batch=2, options=options)


def one_row() -> JobSpec:
    """Return an upload of one row, sent twice: the smallest job with every step."""
    return JobSpec([make_row(1, "[fate:expired] tiny")], ["succeeded"], [2], requests_per_batch=1)


def lost_create_answer() -> JobSpec:
    """Return three chunks; a create's answer is lost beside a foreign batch of its size."""

    def arm(relay: CrashHarness) -> None:
        _add_foreign_batch(relay, 3)
        relay.simulator.arm("lost_answer", endpoint="create")

    return replace(three_chunks(), arm=arm)


def one_row_beside_foreign_batch() -> JobSpec:
    """Return an upload of one row, sent twice, beside a foreign batch of its size."""
    return replace(one_row(), arm=lambda relay: _add_foreign_batch(relay, 1))


def one_row_with_lost_answer() -> JobSpec:
    """Return the same job, but the answer to the first create is lost."""

    def arm(relay: CrashHarness) -> None:
        _add_foreign_batch(relay, 1)
        relay.simulator.arm("lost_answer", endpoint="create")

    return replace(one_row(), arm=arm)


def _add_foreign_batch(relay: CrashHarness, requests: int) -> None:
    relay.simulator.add_foreign(requests)


def of_kind(key: str, *, waits: bool = False, outputs: Sequence[str] = ()) -> JobSpec:
    """Return an upload of another format, in three chunks; one row fails.

    Args:
        key: The file name of one of `upload_kinds.KINDS`.
        waits: Whether its options file arrives when the job waits for it.
        outputs: The exports that the options file asks for.
    """
    (kind,) = (kind for kind in KINDS if kind.key == key)
    option = f"outputs = {json.dumps(outputs)}\n" if outputs else ""
    outcomes = ["errored" if row == FAILING_ROW else "succeeded" for row in range(1, ROWS + 1)]
    return JobSpec(
        rows=[],
        outcomes=outcomes,
        times_accepted=[1] * ROWS,
        requests_per_batch=2,
        key=f"in/{kind.key}",
        file=kind.body,
        options=(option + kind.options).encode(),
        waits=waits,
    )


def equal_rows() -> JobSpec:
    """Return four chunks: a row that is sent twice and its copy; two rows; their copies; a copy of the first and a row."""
    first = "[fate:expired] equal"
    texts = [first, first, "other", "third", "third", "other", first, "fourth"]
    rows = [make_row(0, text) for text in texts]
    return JobSpec(
        rows, ["succeeded"] * 8, [2, 0, 1, 1, 0, 0, 0, 1], requests_per_batch=2, options=b'equal_rows = "once"'
    )  # fmt: skip


def truncated_rows() -> JobSpec:
    """Return two chunks; a row and its copy are sent once more with more room, and so is another row, in vain."""
    rows = [make_row(0, "[needs:100]"), make_row(0, "[needs:100]"), make_row(1, "[needs:500]")]
    options = b'equal_rows = "once"\nretry_truncated = {factor = 2}'
    raised = [params_of(row).replace(b": 64", b": 128") for row in {*rows}]
    return JobSpec(
        rows, ["succeeded"] * 3, [1, 0, 1], requests_per_batch=2, options=options, also_accepted=raised
    )  # fmt: skip


def split_chunk() -> JobSpec:
    """Return an upload of one chunk that is rejected as too large, split, and accepted."""

    def arm(relay: CrashHarness) -> None:
        relay.simulator.arm("too_large", times=0, more_than=1)

    rows = [make_row(1, "half"), make_row(2, "half")]
    return JobSpec(rows, ["succeeded"] * 2, [1, 1], requests_per_batch=2, arm=arm)


def refused_row() -> JobSpec:
    """Return an upload whose only row is rejected by the API."""

    def arm(relay: CrashHarness) -> None:
        relay.simulator.arm("refuse_matching", times=0, contains="refused")

    return JobSpec([make_row(1, "refused")], ["rejected"], [0], requests_per_batch=1, arm=arm)


def large_rows() -> JobSpec:
    """Return an upload of two chunks whose rejected rows exceed one block or one part."""
    rows = [make_row(1), _row_without_params(9 * MB), make_row(3), _row_without_params(6 * MB)]
    outcomes = ["succeeded", "rejected", "succeeded", "rejected"]
    return JobSpec(rows, outcomes, [1, 0, 1, 0], requests_per_batch=2)


def _row_without_params(size_bytes: int) -> bytes:
    return b'{"custom_id": "large", "prompt": "' + b"x" * size_bytes + b'"}'


def baseline_problems(job: JobSpec, final_state: FinalState | None) -> list[str]:
    """Return what is wrong with a baseline run, which all other runs are compared with."""
    if final_state is None:
        return ["baseline: job has no final state"]
    lines = [json.loads(line) for line in final_state.files["results.jsonl"].splitlines()]
    outcomes = [(line["row"], line["result"]["type"]) for line in lines]
    expected = [*enumerate(job.outcomes, 1)]
    problems = [] if outcomes == expected else [f"baseline: rows {outcomes}"]
    problems += (
        [] if _is_accepted(job, final_state) else ["baseline: unexpected accepted requests"]
    )
    problems += final_state.wrong_bill
    completed = final_state.events.get("JOB/ended", set())
    problems += [] if len(completed) == 1 else ["baseline: no completion event"]
    problems += (
        [] if json.loads(final_state.files["status.json"])["status"] == "DONE" else ["not DONE"]
    )
    return problems


def _is_accepted(job: JobSpec, final_state: FinalState) -> bool:
    """Return whether each row was accepted as often as it should be."""
    if job.file is not None:  # what is sent is not in the upload as it is
        return sorted(final_state.params.values()) == sorted(filter(None, job.times_accepted))
    expected = {
        _digest(params_of(row)): times_accepted
        for row, times_accepted in zip(job.rows, job.times_accepted, strict=True)
        if times_accepted
    }
    return final_state.params == expected | dict.fromkeys(map(_digest, job.also_accepted), 1)


def params_of(row: bytes) -> bytes:
    """Return the params of a row that `make_row` made."""
    return row.partition(b'"params": ')[2][:-1]


def _digest(params: bytes) -> str:
    return hashlib.sha256(params).hexdigest()
