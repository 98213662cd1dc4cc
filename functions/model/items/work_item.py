"""What jobs and batches have in common: the keys, the index, the step they wait for, and the lease."""

from datetime import datetime
from enum import StrEnum

import msgspec

from functions.model import timestamps

SCHEMA = 1
"""The version of the format of all items. Raise it if functions that do not know a change would misread an item: they
leave jobs and batches of a newer version alone. They may ignore other new attributes."""
JOB = "#"
OPEN = "open"
UNFINISHED_INDEX = "unfinished"
"""The name of the sparse index, which infra creates."""
MICRO = 1_000_000
"""Millionths of a US dollar in one. The table has no fractions."""
MAX_TRIES = 5
"""Tries of one item without progress before `batch.stuck` is announced."""


class Step(StrEnum):
    """The step that an item waits for."""

    PLAN = "plan"
    SEND = "send"
    COLLECT = "collect"
    ASSEMBLE = "assemble"
    TIDY = "tidy"


class WorkItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The attributes that jobs and batches share.

    Attributes:
        job: the partition key.
        item: the sort key.
        schema: the version of the item's format.
        status: the status of the job or batch.
        status_key: ``STATUS#time``, the sort key of the index.
        open: ``open`` while the item is unfinished; the partition key of the index.
        next_step: the step that the item waits for.
        owner: the token of the invocation that works on it.
        lease: the time until which the owner may work.
        tries: how many times it was acquired since its last progress.
        first_tried_at: when it was first acquired since its last progress.
        last_error: the last failure, in one sentence.
        faults: the last failures in a row that the item itself, not its environment, may have caused.
        convenience_tries: how many times a step reached its retry file and exports, which it omits after some tries.
        stuck_at: when `batch.stuck` was announced.
        not_before: when it may be acquired again.
        expires: when DynamoDB deletes it, in seconds since 1970.
    """

    job: str
    item: str
    schema: int
    status: str
    status_key: str
    open: str | None = None
    next_step: str | None = None
    owner: str | None = None
    lease: str | None = None
    tries: int = 0
    first_tried_at: str | None = None
    last_error: str | None = None
    faults: int = 0
    convenience_tries: int = 0
    stuck_at: str | None = None
    not_before: str | None = None
    expires: int | None = None

    @property
    def status_since(self) -> datetime:
        """The time of its last status change."""
        return status_since(self.status_key)

    def is_leased(self, now: datetime) -> bool:
        """Return whether another invocation may be working on it."""
        return self.lease is not None and self.lease >= timestamps.text(now)

    def is_idle(self, now: datetime) -> bool:
        """Return whether it can be acquired now: not leased, and past `not_before`."""
        is_delayed = self.not_before is not None and self.not_before > timestamps.text(now)
        return not self.is_leased(now) and not is_delayed


def status_key(status: str, since: str) -> str:
    """Return the sort key of the index, which sorts by status, then by age."""
    return f"{status}#{since}"


def status_since(key: str) -> datetime:
    """Return the time of the last status change, from the index's sort key."""
    return timestamps.parse(key.partition("#")[2])
