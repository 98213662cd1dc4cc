"""The published events: CloudEvents 1.0 in structured JSON, with a Subject for people.

An event's id is derived from its cause, so a second delivery has the same id. Payloads contain references
and figures, never prompts or answers. docs/events/ has the JSON Schema of each type.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from functions.model.expected_cost import UNKNOWN_WORST, estimate_figures
from functions.model.items.batch import Batch, batch_key
from functions.model.items.job import Job
from functions.model.items.measured_pilot import Pilot
from functions.model.items.work_item import MICRO
from functions.model.nouns import count_of, dollars
from functions.model.pilot import describe_rest, pilot_figures, usd
from functions.model.spending import Budget

SENDING, UPLOADS = "sending", "uploads"
SUBJECTS_WITHOUT_JOB = frozenset({SENDING, UPLOADS})
"""The subjects of events that do not concern a single job."""
MAX_SUBJECT_CHARS = 99
MAX_ATTRIBUTE_CHARS = 200
MAX_COLUMNS, MAX_COLUMN_CHARS = 50, 100
"""The most columns that an event names, and the most characters of each."""
_EXAMPLE_MODEL = "claude-haiku-5-5"
"""The model in the examples of options: the cheapest one."""
_ELLIPSIS = "..."
_INVALID_IN_ATTRIBUTES = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SNS and SQS reject in attributes, such as the control characters that object keys may contain."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event. It is stored in the transaction that it reports, then published, then deleted.

    Attributes:
        id: the same for every delivery.
        type: such as ``job.completed``.
        time: when it happened, ISO 8601, UTC.
        subject: the job's id, ``sending`` or ``uploads``.
        headline: the sentence for people.
        attributes: the attributes for SNS filter policies.
        data: the payload.
    """

    id: str
    type: str
    time: str
    subject: str
    headline: str
    attributes: dict[str, str]
    data: dict[str, Any]

    @property
    def sns_subject(self) -> str:
        """The headline as SNS accepts it: printable ASCII, at most 99 characters, cut at a word.

        A headline whose first word is too long is replaced by the event's type and subject.
        """
        ascii_only = re.sub(r"[^ -~]+", "?", self.headline).strip()
        if len(ascii_only) <= MAX_SUBJECT_CHARS:
            return ascii_only or self.type
        room = MAX_SUBJECT_CHARS - len(_ELLIPSIS)
        words = ascii_only[: room + 1].rpartition(" ")[0].rstrip()
        return f"{words}{_ELLIPSIS}" if words else f"{self.type} {self.subject}"

    def message_attributes(self) -> dict[str, str]:
        """Return the message attributes: none empty, at most ten (raw delivery to SQS keeps ten)."""
        attributes = {"type": self.type, "job": self.subject, **self.attributes}
        return {
            name: _INVALID_IN_ATTRIBUTES.sub("?", text[:MAX_ATTRIBUTE_CHARS])
            for name, text in attributes.items()
            if text
        }

    def cloud_event(self, source: str) -> dict[str, Any]:
        """Return the message: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": source,
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "data": self.data,
        }


def _job_reference(job: Job, results_bucket: str) -> dict[str, Any]:
    upload = {"bucket": job.bucket, "key": job.key, "version": job.version}
    return {
        "job": job.job,
        "name": job.label,
        "upload": upload,
        "results": f"s3://{results_bucket}/{job.results_prefix}/",
    }


def folder_of(key: str) -> str:
    """Return the upload's folder, by which teams filter events."""
    return key.rpartition("/")[0]


def job_planned(job: Job, results_bucket: str, at: str) -> Event:
    """Build the event that an upload has been read to its end."""
    data = {
        **_job_reference(job, results_bucket),
        "rows": job.checkpoint.row,
        "requests": job.requests,
        "rejected": job.rows_rejected,
        "chunks": job.checkpoint.chunk,
        "format": "jsonl" if job.format is None else job.format.reader,
        "notices": [] if job.format is None else job.format.notices,
        "estimate": estimate_figures(job),
    }
    headline = (
        f"{job.label}: {count_of(job.requests, 'request')} planned, "
        f"{count_of(job.rows_rejected, 'row')} rejected"
    )
    return Event(
        id=f"{job.job}/planned", type="job.planned", time=at, subject=job.job, headline=headline,
        attributes={"folder": folder_of(job.key)}, data=data,
    )  # fmt: skip


def job_waiting(job: Job, results_bucket: str, columns: Sequence[str], at: str) -> Event:
    """Build the event that the rows of an upload are records, and no template says what to send for them."""
    return _waiting(job, results_bucket, at, "template", {
        "waiting_for": "template",
        "columns": [name[:MAX_COLUMN_CHARS] for name in columns[:MAX_COLUMNS]],
        "models": [],
        "example": _example_template(columns[:MAX_COLUMNS]),
        "message": "the rows are not requests, and no template says what to send for them; upload one under one of the "
        "options_keys, and the job starts",
    })  # fmt: skip


def job_waiting_for_models(job: Job, results_bucket: str, models: Sequence[str], at: str) -> Event:
    """Build the event that the option `models` names no Claude model for rows of an upload.

    Args:
        job: the job.
        results_bucket: the results bucket.
        models: the keys that `models` lacks: names of models as the upload has them, or ``*``.
        at: the event's time.
    """
    listed = ", ".join(models).encode()
    return _waiting(job, results_bucket, at, f"models-{hashlib.sha256(listed).hexdigest()[:8]}", {
        "waiting_for": "models",
        "columns": [],
        "models": [*models],
        "example": _example_models(models),
        "message": "no Claude model is named for the models of the rows; upload the option models under one of the "
        "options_keys, and the job starts",
    })  # fmt: skip


def _waiting(
    job: Job, results_bucket: str, at: str, name: str, missing: Mapping[str, Any]
) -> Event:
    data = {
        **_job_reference(job, results_bucket),
        "options_keys": _options_keys(job),
        **missing,
    }
    what = "a template" if missing["waiting_for"] == "template" else "models"
    return Event(
        id=f"{job.job}/waiting/{name}", type="job.waiting", time=at, subject=job.job,
        headline=f"{job.label}: waiting for {what}, {data['options_keys'][0]}",
        attributes={"folder": folder_of(job.key)}, data=data,
    )  # fmt: skip


def _example_models(models: Sequence[str]) -> str:
    """Return options that map models, ready to copy."""
    pairs = (f'"{model}" = "{_EXAMPLE_MODEL}"' for model in models)
    return f"models = {{ {', '.join(pairs)} }}\n"


def job_held(
    job: Job, results_bucket: str, reason: str, budget_micro_usd: int | None, at: str
) -> Event:
    """Build the event that nothing of a job is sent, because it may cost more than its budget or has no price."""
    figures = estimate_figures(job)
    budget_usd = None if budget_micro_usd is None else budget_micro_usd / MICRO
    worst_usd = None if figures is None else figures["cost_usd"]["worst"]
    if worst_usd is None:
        problem = f"its cost has no known bound, and a budget is in force: {UNKNOWN_WORST}"
    else:
        problem = f"it may cost up to {dollars(worst_usd)}, more than its budget of {dollars(budget_usd or 0.0)}"
    # No budget is large enough for a cost without a bound.
    larger = "" if worst_usd is None else ", or an options file with a larger budget_usd"
    data = {
        **_job_reference(job, results_bucket),
        "waiting_for": reason,
        "estimate": figures,
        "budget_usd": budget_usd,
        "marker": f"{job.key}.go",
        "options_keys": _options_keys(job),
        "message": f"nothing is sent: {problem}. To send it, upload an empty object with the key in marker{larger}; to end it, "
        f"upload {job.key}.cancel",
    }  # fmt: skip
    return Event(
        id=f"{job.job}/held/{reason}/{budget_micro_usd or 0}", type="job.held", time=at, subject=job.job,
        headline=f"{job.label}: held; {problem}", attributes={"folder": folder_of(job.key)}, data=data,
    )  # fmt: skip


def job_pilot(job: Job, results_bucket: str, measured: Pilot, at: str, *, goes_on: bool) -> Event:
    """Build the event that the first rows of a job are answered, and what they predict for the rest."""
    rest = describe_rest(measured)
    if goes_on:
        message = f"{rest} are sent now"
    else:
        message = f"{rest} wait: upload an empty object with the key in marker to send them, or {job.key}.cancel to end the job"
    data = {
        **_job_reference(job, results_bucket),
        **pilot_figures(measured),
        "budget_usd": usd(job.budget_micro_usd),
        "goes_on": goes_on,
        "marker": f"{job.key}.go",
        "message": message,
    }
    return Event(
        id=f"{job.job}/pilot", type="job.pilot", time=at, subject=job.job,
        headline=f"{job.label}: {measured.succeeded:,} of {measured.rows:,} rows of the pilot succeeded; {message}",
        attributes={"folder": folder_of(job.key)}, data=data,
    )  # fmt: skip


def _options_keys(job: Job) -> list[str]:
    """Return the keys of the options files for an upload alone and for its folder."""
    return [f"{job.key}.relay.toml", f"{folder_of(job.key)}/_relay.toml".lstrip("/")]


def _example_template(columns: Sequence[str]) -> str:
    """Return options with a template that names columns of the upload, ready to copy."""
    usable = [name for name in columns if _fits_template(name)] or ["column"]
    longest = usable[-1]
    return (
        "[request]\n"
        f'custom_id = "{{{{{usable[0]}}}}}"\n'
        "[request.params]\n"
        f'model = "{_EXAMPLE_MODEL}"\n'
        "max_tokens = 4096\n"
        f'messages = [{{ role = "user", content = "<text>{{{{{longest}}}}}</text>" }}]\n'
    )


def _fits_template(name: str) -> bool:
    """Return whether a template can name a column as it is, without escapes of TOML."""
    is_plain = name.isprintable() and name == name.strip() and not re.search(r'[{}"\\]', name)
    return is_plain and 0 < len(name) <= MAX_COLUMN_CHARS


def job_ended(job: Job, results_bucket: str, figures: Mapping[str, Any], at: str) -> Event:
    """Build the event that a job is done: completed, or rejected if it had no valid row."""
    outcome = job.outcome or "failed"
    kind = "job.completed" if job.sendable_rows else "job.rejected"
    data = {
        **_job_reference(job, results_bucket),
        "outcome": outcome,
        "reason": job.failure,
        **figures,
    }
    counts = figures["counts"]
    summary = (
        job.failure
        or f"{counts.get('succeeded', 0):,} of {count_of(figures['rows'], 'row')} succeeded"
    )
    return Event(
        id=f"{job.job}/ended" + (f"/{job.reopened}" if job.reopened else ""), type=kind, time=at, subject=job.job, headline=f"{job.label}: {outcome}; {summary}",
        attributes={"folder": folder_of(job.key), "outcome": outcome}, data=data,
    )  # fmt: skip


def budget_reached(budget: Budget, needed_micro_usd: int, waiting: int, at: str) -> Event:
    """Build the event that batches wait because they do not fit the budget of a day or a month.

    Args:
        budget: what they do not fit.
        needed_micro_usd: what the least of them may cost.
        waiting: how many there are.
        at: the event's time.
    """
    setting = f"{budget.scope}BudgetUsd"
    limit_usd, needed_usd = budget.limit / MICRO, needed_micro_usd / MICRO
    if needed_micro_usd > budget.limit:
        advice = (
            f"each may cost {dollars(needed_usd)} or more, so none ever fits: raise {setting}, or lower max_tokens or "
            "requestsPerBatch and upload again"
        )
    else:
        advice = (
            f"they resume automatically at {budget.until}; raise {setting} to send them sooner"
        )
    data = {
        "scope": budget.scope,
        "period": budget.period,
        "budget_usd": limit_usd,
        "spent_usd": budget.spent / MICRO,
        "reserved_usd": budget.reserved / MICRO,
        "needed_usd": needed_usd,
        "waiting": waiting,
        "until": budget.until,
        "message": f"{waiting:,} batches wait: {advice}",
    }
    return Event(
        id=f"budget/{budget.period}", type="budget.reached", time=at, subject=SENDING,
        headline=f"The budget of {budget.period}, {dollars(limit_usd)}, is reached: {data['message']}",
        attributes={}, data=data,
    )  # fmt: skip


def batch_ended(batch: Batch, counts: Mapping[str, int], at: str) -> Event:
    """Build the event that a Message Batch has ended at Anthropic."""
    data = {
        "job": batch.job, "batch": batch_key(batch), "batch_id": batch.batch_id, "chunk": batch.chunk,
        "attempt": batch.attempt, "requests": batch.requests, "counts": dict(counts),
    }  # fmt: skip
    headline = (
        f"{batch.batch_id} ended: {counts.get('succeeded', 0):,} of {batch.requests:,} succeeded"
    )
    return Event(
        id=f"{batch_key(batch)}/ended/{batch.batch_id}", type="batch.ended", time=at, subject=batch.job, headline=headline,
        attributes={"batch": batch.item}, data=data,
    )  # fmt: skip


def stuck(item: Batch | Job, problem: str, at: str) -> Event:
    """Build the event that an item makes no progress, and why. Its id differs each time the item gets stuck."""
    data = {
        "job": item.job,
        "item": item.item,
        "status": item.status,
        "step": item.next_step,
        "tries": item.tries,
        "problem": problem,
    }
    headline = f"{item.job[:8]} {item.item}: stuck in step {item.next_step}: {problem}"
    return Event(
        id=f"{item.job}/{item.item}/stuck/{item.next_step}/{item.first_tried_at or at}", type="batch.stuck", time=at, subject=item.job, headline=headline,
        attributes={"batch": item.item}, data=data,
    )  # fmt: skip


def paused(reason: str, sentence: str, at: str) -> Event:
    """Build the event that sending is paused, why, and what to do."""
    return Event(
        id=f"sending/paused/{at}", type="sending.paused", time=at, subject=SENDING,
        headline=f"Sending is paused: {sentence}", attributes={"outcome": reason},
        data={"reason": reason, "message": sentence, "since": at},
    )  # fmt: skip


def resumed(reason: str, paused_at: str, at: str) -> Event:
    """Build the event that sending resumes."""
    return Event(
        id=f"sending/resumed/{paused_at}", type="sending.resumed", time=at, subject=SENDING,
        headline="Sending has resumed", attributes={"outcome": reason},
        data={"reason": reason, "paused_since": paused_at},
    )  # fmt: skip
