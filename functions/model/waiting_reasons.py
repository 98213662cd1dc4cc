"""Explain why a job waits: a stable reason, a sentence for people, and what would change it.

They are published in status.json, so they quote neither prompts nor answers. Errors in them are those of `batch.stuck`.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from functions.model import timestamps
from functions.model.create_response import KEY_PROBLEMS, PAUSE_MESSAGES
from functions.model.expected_cost import UNKNOWN_WORST, estimate_figures
from functions.model.items.batch import Batch, BatchStatus
from functions.model.items.job import ESTIMATE, PILOT, Job, JobStatus
from functions.model.items.measured_pilot import Pilot
from functions.model.items.work_item import MICRO, Step
from functions.model.nouns import count_of, dollars
from functions.model.pilot import describe_rest
from functions.model.records import Sending

BATCH_HOURS = 24
"""Anthropic ends each Message Batch within this time."""


class ReasonText(NamedTuple):
    """The sentences about one reason.

    Attributes:
        message: why the job waits. Names in braces are filled in.
        resolution: what would change it.
    """

    message: str
    resolution: str


REASONS = {
    "no_key": ReasonText(
        "nothing is sent or downloaded: {problem}",
        "store a valid API key in the secret; poll notices it within minutes and continues automatically",
    ),
    "paused": ReasonText(
        "sending is paused for all jobs: {problem}",
        "fix the cause; poll tries one batch at least once an hour, and resumes once it is accepted",
    ),
    "throttled": ReasonText(
        "Anthropic's rate limit delays all creates (429)",
        "nothing to do: sending resumes automatically; raise the limits in the Claude Console if this lasts",
    ),
    "template": ReasonText(
        "the rows are not requests, and no template says what to send for them",
        "upload an options file with a template: {options_key}",
    ),
    "models": ReasonText(
        "no Claude model is named for the models of the rows",
        "upload an options file with the option models: {options_key}",
    ),
    "valid_options": ReasonText(
        "an options file cannot be used; the event options.rejected says why",
        "upload a corrected options file, or delete it",
    ),
    "budget": ReasonText(
        "it may cost {cost}more than its budget{budget}, so nothing is sent",
        "create {key}.go (`relay go`) to send it, raise budget_usd in its options, or create {key}.cancel",
    ),
    "price": ReasonText(
        f"its cost has no known bound, and a budget is in force: {UNKNOWN_WORST}",
        "create {key}.go (`relay go`) to send it, change its options, or create {key}.cancel",
    ),
    "go": ReasonText(
        "{pilot} for a decision",
        "create {key}.go (`relay go`) to send the rest, or {key}.cancel (`relay cancel`) to end the job",
    ),
    "pilot": ReasonText(
        "the first {pilot_rows} rows are sent alone, and the rest waits for their answers",
        "nothing to do: poll measures the pilot once it is answered",
    ),
    "estimate": ReasonText(
        "a budget is in force, so nothing is sent before the upload is read to its end",
        "nothing to do: planning continues automatically",
    ),
    "day_budget": ReasonText(
        "its next batches may cost more than what is left of the day's budget",
        "wait for the next day in UTC, or raise dayBudgetUsd",
    ),
    "month_budget": ReasonText(
        "its next batches may cost more than what is left of the month's budget",
        "wait for the next month in UTC, or raise monthBudgetUsd",
    ),
    "warm_up": ReasonText(
        "batches wait until the first row of their shared prefix is answered; then they read the prefix from the cache",
        "nothing to do: they are sent once that batch has ended, or some hours later",
    ),
    "share": ReasonText(
        "batches wait for room in the share of the folder {folder}",
        "wait until batches of this folder end, or raise its share in the root's _relay.toml",
    ),
    "room": ReasonText(
        "batches wait for room: as much is open at Anthropic as openBatches and queuedRequests allow",
        "wait until batches end, raise these settings, or give the next upload a higher priority",
    ),
    "backoff": ReasonText(
        "a batch was refused without naming a row, and is sent again later",
        "nothing to do: each delay is longer; sending.paused has the API's words",
    ),
    "plan_retry": ReasonText("planning the upload failed: {problem}", "{retry}"),
    "send_retry": ReasonText("sending a batch failed: {problem}", "{retry}"),
    "collect_retry": ReasonText("downloading the results of a batch failed: {problem}", "{retry}"),
    "assemble_retry": ReasonText("joining the results failed: {problem}", "{retry}"),
    "unconfirmed": ReasonText(
        "{batches} may exist at Anthropic: the answer to the create was lost or unclear",
        "nothing to do: poll proves whether they exist, and sends again what does not",
    ),
    "planning": ReasonText(
        "the upload is being read and cut into batches",
        "nothing to do: it continues automatically",
    ),
    "sending": ReasonText(
        "about to be sent: {batches}", "nothing to do: it continues automatically"
    ),
    "answers": ReasonText(
        "Anthropic works on {batches} with {requests}",
        f"nothing to do: Anthropic ends each within {BATCH_HOURS} hours",
    ),
    "canceling": ReasonText(
        "it is canceled, and Anthropic still ends {batches}",
        "nothing to do: what is answered by then is delivered",
    ),
    "collecting": ReasonText(
        "the results of {batches} are being downloaded",
        "nothing to do: it continues automatically",
    ),
    "equal_rows": ReasonText(
        "rows of {batches} wait for the answers to equal rows in other batches",
        "nothing to do: the answers are copied once those batches are collected",
    ),
    "assembling": ReasonText(
        "the results are being joined", "nothing to do: it continues automatically"
    ),
}
"""Why a job may wait. What needs a person comes first, then what has failed."""
_RETRY = "it is retried automatically, up to six hours apart, until the cause is gone"
_RETRY_STUCK = f"fix the cause, which batch.stuck announced; {_RETRY}"
OF_ALL_JOBS = frozenset({"no_key", "paused", "throttled"})
"""Reasons that apply to all jobs at once. When their `until` changes, status.json is not rewritten."""
_SENDING = frozenset(REASONS) - {
    "plan_retry", "collect_retry", "assemble_retry", "unconfirmed",
    "planning", "sending", "answers", "canceling", "collecting", "equal_rows", "assembling",
}  # fmt: skip
"""Reasons why batches are not sent."""


class WaitingReason(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a job waits.

    Attributes:
        reason: a key of `REASONS`, which does not change from version to version.
        since: when the wait began; None if that is not known.
        message: why, in a sentence.
        until: when it ends or is looked at again; None if that is not known.
        resolution: what would change it, in a sentence.
    """

    reason: str
    since: str | None
    message: str
    until: str | None
    resolution: str


class Obstacles(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps batches from being sent, as the last poll found it.

    Attributes:
        sending: the circuit breaker; None if it could not be read.
        not_admitted: ``day_budget``, ``month_budget``, ``warm_up``, ``share`` or ``room`` → when the oldest batch of the job
            waits for it.
        until: a budget → when it ends.
    """

    sending: Sending | None = None
    not_admitted: Mapping[str, str] = {}
    until: Mapping[str, str] = {}


def waiting_reasons(
    job: Job, batches: Sequence[Batch], obstacles: Obstacles, now: datetime
) -> list[WaitingReason]:
    """Return why a job waits: each reason once, in the order of `REASONS`. Empty if it is done.

    Args:
        job: the job.
        batches: its unfinished batches.
        obstacles: what keeps batches from being sent.
        now: the time.
    """
    if job.status == JobStatus.DONE:
        return []
    found = {
        wait.reason: wait
        for group in (
            _decisions(job, batches),
            _retries([job, *batches]),
            _obstacles(job, batches, obstacles, timestamps.text(now)),
            _progress(job, batches),
        )
        for wait in group
    }
    if found.keys() & _SENDING:
        found.pop("sending", None)
    if "plan_retry" in found or job.waiting_for is not None:
        found.pop("planning", None)
    return [found[reason] for reason in REASONS if reason in found]


def _wait(
    reason: str, since: str | None, until: str | None = None, **facts: object
) -> WaitingReason:
    text = REASONS[reason]
    return WaitingReason(
        reason=reason,
        since=since,
        message=text.message.format_map(facts),
        until=until,
        resolution=text.resolution.format_map(facts),
    )


def _decisions(job: Job, batches: Sequence[Batch]) -> Iterator[WaitingReason]:
    """Yield what a person must decide or supply, and holds that end by themselves."""
    reason = job.waiting_for or job.held
    if reason is None or job.canceled_at is not None or reason not in REASONS:
        return
    options_key = f"{job.key}.relay.toml"
    if reason in {ESTIMATE, PILOT}:
        sent_at = [batch.first_sent_at for batch in batches if batch.first_sent_at]
        since = min(sent_at, default=timestamps.text(job.status_since))
        yield _wait(reason, since, pilot_rows=f"{job.pilot_rows:,}")
    else:
        until = job.not_before if job.waiting_for else None
        facts = {"key": job.key, "options_key": options_key, "pilot": _pilot(job.pilot)} | _costs(
            job
        )
        yield _wait(reason, job.waiting_since, until, **facts)


def _pilot(measured: Pilot | None) -> str:
    """Return what the pilot used and that the rest waits. Jobs of earlier versions do not have it."""
    if measured is None:
        return "the pilot is answered, and the rest waits"
    tokens = (
        f" with {measured.input_tokens_per_answer:,.0f} input and {measured.output_tokens_per_answer:,.0f} output tokens per row"
        if measured.succeeded
        else ""
    )
    wait = "waits" if measured.rest_rows == 1 else "wait"
    return (
        f"{measured.succeeded:,} of {count_of(measured.rows, 'row')} of the pilot succeeded{tokens}; "
        f"{describe_rest(measured)} {wait}"
    )


def _costs(job: Job) -> dict[str, str]:
    """Return what a job may cost and its budget, for a sentence; empty texts where they are unknown."""
    figures = estimate_figures(job)
    worst = None if figures is None else figures["cost_usd"]["worst"]
    budget = job.budget_micro_usd
    return {
        "cost": "" if worst is None else f"up to {dollars(worst)}, ",
        "budget": "" if budget is None else f" of {dollars(budget / MICRO)}",
    }


def _retries(items: Sequence[Job | Batch]) -> Iterator[WaitingReason]:
    """Yield the step that failed, with the item that has failed most often."""
    for step in (Step.PLAN, Step.SEND, Step.COLLECT, Step.ASSEMBLE):
        failing = [item for item in items if item.next_step == step and _has_failed(item)]
        if failing:
            worst = max(failing, key=lambda item: item.tries)
            yield _wait(
                f"{step}_retry",
                min(
                    (item.first_tried_at for item in failing if item.first_tried_at), default=None
                ),
                worst.not_before,
                problem=f"{worst.last_error or describe_killed(worst)} (tried {worst.tries} times)",
                retry=_RETRY_STUCK if any(item.stuck_at for item in failing) else _RETRY,
            )


def describe_killed(item: Job | Batch) -> str:
    """Return a sentence about an item that was tried and has no error."""
    killed = "every attempt was killed before it finished (timeout or out of memory)"
    if isinstance(item, Job) and item.format is not None and item.format.container is not None:
        return (
            f"{killed}; each attempt unpacks the {item.format.container} upload from its start, which may take "
            "longer than a function may run: upload it in parts"
        )
    return killed


def _has_failed(item: Job | Batch) -> bool:
    return item.last_error is not None or item.tries > 1


def _obstacles(
    job: Job, batches: Sequence[Batch], obstacles: Obstacles, now: str
) -> Iterator[WaitingReason]:
    """Yield what keeps batches from being sent."""
    waiting = [batch for batch in batches if batch.status == BatchStatus.WAITING]
    sending = obstacles.sending or Sending()
    if sending.paused_reason is not None and (waiting or _needs_key(batches)):
        is_key = sending.paused_reason in KEY_PROBLEMS
        problem = PAUSE_MESSAGES.get(sending.paused_reason, sending.paused_reason)
        if is_key or waiting:
            reason = "no_key" if is_key else "paused"
            yield _wait(reason, sending.paused_at, sending.probe_at, problem=problem)
    elif waiting and sending.not_before is not None and sending.not_before > now:
        yield _wait("throttled", sending.limited_at, sending.not_before)
    else:
        for reason, since in obstacles.not_admitted.items():
            folder = None if job.share is None else job.share.folder
            yield _wait(reason, since, obstacles.until.get(reason), folder=folder)
        yield from _backoff(waiting, now)


def _needs_key(batches: Sequence[Batch]) -> bool:
    return any(batch.awaits_results for batch in batches)


def _backoff(waiting: Sequence[Batch], now: str) -> Iterator[WaitingReason]:
    delayed = [
        batch for batch in waiting
        if batch.not_before is not None and batch.not_before > now and not _has_failed(batch)
    ]  # fmt: skip
    if delayed:
        until = min(batch.not_before or now for batch in delayed)
        yield _wait("backoff", _oldest(delayed), until)


def _progress(job: Job, batches: Sequence[Batch]) -> Iterator[WaitingReason]:
    """Yield the steps that are in progress without trouble."""
    if job.status == JobStatus.PLANNING:
        yield _wait("planning", timestamps.text(job.status_since))
    if job.status == JobStatus.ASSEMBLING and not _has_failed(job):
        yield _wait("assembling", timestamps.text(job.status_since))
    groups = {
        "unconfirmed": [b for b in batches if b.status == BatchStatus.UNCONFIRMED],
        "sending": [b for b in batches if b.status in {BatchStatus.WAITING, BatchStatus.SENDING}],
        "canceling" if job.canceled_at else "answers": [
            b for b in batches if b.status == BatchStatus.IN_PROGRESS
        ],
        "collecting": [
            b
            for b in batches
            if b.status == BatchStatus.ENDED and not (b.is_copying or _has_failed(b))
        ],
        "equal_rows": [b for b in batches if b.is_copying and not _has_failed(b)],
    }
    for reason, group in groups.items():
        if group:
            requests = sum(batch.requests for batch in group)
            until = _ends_by(group) if reason in {"answers", "canceling"} else None
            facts = {
                "batches": count_of(len(group), "batch"),
                "requests": count_of(requests, "request"),
            }
            yield _wait(reason, _oldest(group), until, **facts)


def _oldest(batches: Sequence[Batch]) -> str:
    return timestamps.text(min(batch.status_since for batch in batches))


def _ends_by(batches: Sequence[Batch]) -> str | None:
    created = [batch.created_at for batch in batches if batch.created_at is not None]
    latest = max(map(timestamps.parse, created), default=None)
    return None if latest is None else timestamps.after(latest, BATCH_HOURS * 3600)
