"""The cost ledger: one entry for each job that has ended, and for each duplicate that was found only afterwards.

An entry is written in the transaction that ends its job, so each job is booked exactly once. A job that was
reopened replaces its entry. It stays in the index of unfinished items until poll has written it to the CSV file of its
month in the results bucket.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from typing import Any

import msgspec

from functions.model import events, timestamps
from functions.model.items import work_item
from functions.model.items.batch import Batch
from functions.model.items.counts import Usage
from functions.model.items.job import Job
from functions.model.items.work_item import OPEN, SCHEMA

LEDGER = "ledger/"
"""The beginning of a month's partition key and of its file's key: ``ledger/2026-11``."""
STATUS = "LEDGER"
KEPT_DAYS = 400
"""Days after which DynamoDB deletes an entry: 13 months."""
DUPLICATE = "duplicate"
"""The outcome in the entry of a duplicate."""
_LONG = "long_"
_KINDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
    "cache_creation_1h_input_tokens": "cache_write",
}
TOKEN_KINDS = tuple(dict.fromkeys(_KINDS.values()))


class CostEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one job cost.

    Attributes:
        job: the partition key: ``ledger/2026-11``, the month in which the job ended, in UTC.
        item: the sort key: the time of the end, the job's id, and that of a duplicate.
        cost_usd: the cost as the manifest says it, as text; None if it is unknown.
        cost_usd_known: the part that is known.
        problem: why the cost is unknown.
        tokens: the tokens of all models, by kind.
        open: set until the entry is in the month's file.
        status_key: with the last end of the job, so that closing an entry that was replaced meanwhile changes nothing.
    """

    job: str
    item: str
    schema: int
    expires: int
    of_job: str
    ended_at: str
    folder: str
    label: str
    upload: str
    outcome: str
    rows: int
    succeeded: int = 0
    tokens: dict[str, int] = {}
    cost_usd: str | None = None
    cost_usd_known: str = "0"
    problem: str | None = None
    manifest: str | None = None
    open: str | None = None
    status_key: str | None = None


def cost_entry(
    job: Job,
    figures: Mapping[str, Any],
    usage: Iterable[Usage],
    known_usd: float,
    problem: str | None,
) -> CostEntry:
    """Build the entry of a job that has ended.

    Args:
        job: the job, with its outcome.
        figures: `rows`, `counts`, `cost_usd` and `manifest`, as in the event `job.completed`.
        usage: what each model used.
        known_usd: the part of the cost that is known.
        problem: why the cost is unknown.
    """
    ended = timestamps.parse(job.first_ended_at or job.ended_at or job.claimed_at).astimezone(UTC)
    ended_at = timestamps.text(ended)
    usd = figures["cost_usd"]
    return CostEntry(
        job=f"{LEDGER}{ended:%Y-%m}",
        item=f"{ended_at}/{job.job}",
        schema=SCHEMA,
        expires=timestamps.epoch(ended + timedelta(days=KEPT_DAYS)),
        of_job=job.job,
        ended_at=ended_at,
        folder=events.folder_of(job.key),
        label=job.label,
        upload=job.source.uri,
        outcome=job.outcome or "failed",
        rows=figures["rows"],
        succeeded=figures["counts"].get("succeeded", 0),
        tokens=_tokens(usage),
        cost_usd=None if usd is None else _text(usd),
        cost_usd_known=_text(known_usd),
        problem=problem,
        manifest=figures["manifest"],
        open=OPEN,
        status_key=work_item.status_key(STATUS, job.ended_at or ended_at),
    )


def duplicate_entry(job: Job, batch: Batch, duplicate_id: str, at: str) -> CostEntry:
    """Build the entry of a duplicate that was found when its job had ended. Its cost is unknown.

    Args:
        job: the job, whose manifest does not name the duplicate.
        batch: the batch whose rows were sent twice.
        duplicate_id: the Message Batch that is canceled.
        at: when it was found.
    """
    figures = {"rows": batch.requests, "counts": {}, "cost_usd": None, "manifest": None}
    ended = msgspec.structs.replace(job, first_ended_at=None, ended_at=at, outcome=DUPLICATE)
    problem = f"{duplicate_id} has the rows of {batch.item} again; it was canceled, and what it had answered is billed"
    entry = cost_entry(ended, figures, [], 0.0, problem)
    return msgspec.structs.replace(entry, item=f"{entry.item}/{duplicate_id}")


def _tokens(usage: Iterable[Usage]) -> dict[str, int]:
    """Return the tokens by kind, those of long prompts included."""
    tokens = dict.fromkeys(TOKEN_KINDS, 0)
    for used in usage:
        for name, count in used.items():
            kind = _KINDS.get(name.removeprefix(_LONG))
            if kind is not None:
                tokens[kind] += count
    return tokens


def _text(usd: float) -> str:
    """Return an amount with the manifest's six digits. The table has no fractions."""
    return f"{usd:.6f}"
