"""Find jobs by id, by the beginning of the id, or by the upload's key. Read their files in S3."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from botocore.exceptions import ClientError

from cli.errors import DENIED_CODES, CommandError, NotFoundError, UsageError
from functions.adapters.circuit import Circuit
from functions.adapters.cost_ledger import CostLedger
from functions.adapters.table import Table
from functions.adapters.work_items import WorkItems
from functions.errors import NewerSchemaError
from functions.model.cost_ledger import DUPLICATE, LEDGER, CostEntry
from functions.model.ids import JOB_DIGITS, job_id
from functions.model.items.job import Job, JobStatus, label_of, results_prefix
from functions.model.items.stored_objects import NO_VERSION
from functions.model.items.work_item import JOB, OPEN, UNFINISHED_INDEX, status_key
from functions.readers import suffix_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from contextlib import AbstractContextManager

    from cli.deployment import Deployment
    from functions.model.items.batch import Batch
    from functions.model.records import Sending
    from local.polling import Polling

RUNNING = (JobStatus.PLANNING, JobStatus.RUNNING, JobStatus.ASSEMBLING)
MAX_SEARCHED = 1000
"""The number of ended jobs that are searched for a name."""
LEDGER_MONTHS = 13
"""Months for which the ledger keeps its entries."""
CLAIM_TIME = timedelta(minutes=2)
"""A new upload becomes a job in this time, even if Lambda is busy."""
_ID = re.compile(rf"[0-9a-f]{{{JOB_DIGITS}}}")
_PREFIX = re.compile(rf"(?:.*-)?([0-9a-f]{{4,{JOB_DIGITS}}})")
"""The beginning of an id, alone or at the end of a job's name: ``march-3f9ac21b``."""


@dataclass(frozen=True)
class FoundJob:
    """A job that the command line names.

    Attributes:
        id: its id.
        key: the key of its upload.
        prefix: where its results are in the results bucket.
        item: its item in the table; None before it is claimed, and after the table has deleted it.
    """

    id: str
    key: str
    prefix: str
    item: Job | None = None

    @property
    def name(self) -> str:
        """Its name for people."""
        return label_of(self.key, self.id)


class Jobs:
    """The jobs of a deployed stack."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    @cached_property
    def _table(self) -> Table:
        return Table(self._deployment.table, self._deployment.dynamodb)

    @cached_property
    def _items(self) -> WorkItems:
        return WorkItems(self._table)

    def running(self) -> list[Job]:
        """Return the jobs that have not ended, the oldest first. The index may be seconds behind."""
        condition = "#open = :open AND begins_with(status_key, :status)"
        # A job that advances meanwhile is found twice. The later status counts.
        jobs = {
            item["job"]: msgspec.convert(item, Job)
            for status in RUNNING
            for item in self._table.query(
                condition,
                {":open": OPEN, ":status": status_key(status, "")},
                UNFINISHED_INDEX,
            )
            if item["item"] == JOB
        }
        return sorted(jobs.values(), key=lambda job: job.claimed_at)

    def ended(self, limit: int) -> list[CostEntry]:
        """Return the most recently ended jobs, newest first."""
        ledger = CostLedger(self._table)
        months = (f"{LEDGER}{month}" for month in _months(datetime.now(UTC)))
        entries = (entry for month in months for entry in ledger.newest(month, limit))
        return [*islice((entry for entry in entries if entry.outcome != DUPLICATE), limit)]

    def of_month(self, month: str) -> Iterator[CostEntry]:
        """Yield what the jobs cost that ended in a month, ``2026-11``."""
        return CostLedger(self._table).entries(f"{LEDGER}{month}")

    def ledger_check(self, month: str) -> dict[str, str] | None:
        """Return how a month of the ledger compares with Anthropic's usage report; None if that was not checked.

        A policy of an earlier version does not let people read it; for them, it was not checked.
        """
        key = f"{LEDGER}{month}.check.csv"
        try:
            answer = self._deployment.s3.get_object(Bucket=self._deployment.results, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"NoSuchKey", *DENIED_CODES}:
                raise
            return None
        text = answer["Body"].read().decode("utf-8-sig")
        return next(csv.DictReader(text.splitlines()), None)

    def find(self, name: str) -> FoundJob:
        """Return the job that a name means.

        Args:
            name: its id, its name, the beginning of its id, or the key of its upload. Of several jobs of one key,
                the newest is meant.

        Raises:
            NotFoundError: there is none.
            UsageError: there are several.
        """
        if _ID.fullmatch(name) and (job := self._items.job(name)):
            return found_job_of(job)
        running = self.running()
        by_key = [job for job in running if job.key == name] or self._of_key(name)
        if newest := self._unclaimed(name, {job.job for job in by_key}):
            return self.refreshed(newest)  # it may have ended already
        if by_key:
            return found_job_of(max(by_key, key=lambda job: (job.uploaded_at, job.claimed_at)))
        if prefix := _PREFIX.fullmatch(name):
            return self._by_prefix(name, prefix[1], running)
        raise _not_found(name)

    def refreshed(self, found_job: FoundJob) -> FoundJob:
        """Return a job as the table has it now."""
        job = self._items.job(found_job.id)
        return found_job if job is None else found_job_of(job)

    def batches(self, found_job: FoundJob) -> list[Batch]:
        """Return all batches of a job, by chunk and attempt.

        Raises:
            CommandError: a newer version of the relay wrote one of them.
        """
        try:
            return self._items.batches(found_job.id)
        except NewerSchemaError as error:
            message = f"{found_job.name}: {error}"
            raise CommandError(message) from error

    def polling(self) -> AbstractContextManager[Polling | None]:
        """Open what runs poll while a command waits; None in AWS, where the schedule does."""
        return self._deployment.polling()

    def sending(self) -> Sending:
        """Return whether sending is paused, and why."""
        return Circuit(self._table).read()

    def status(self, found_job: FoundJob) -> dict[str, Any]:
        """Return the status.json of a job; empty before poll has written it."""
        return self._document(f"{found_job.prefix}/status.json") or {}

    def manifest(self, found_job: FoundJob) -> dict[str, Any]:
        """Return the manifest of a job.

        Raises:
            NotFoundError: it has not ended.
        """
        manifest = self._document(f"{found_job.prefix}/manifest.json")
        if manifest is None:
            message = f"{found_job.name} has no results yet: `relay why {found_job.id[:8]}` says what it waits for"
            raise NotFoundError(message)
        return manifest

    def _by_prefix(self, name: str, prefix: str, running: Iterable[Job]) -> FoundJob:
        matches = {job.job: found_job_of(job) for job in running if job.job.startswith(prefix)}
        for entry in self.ended(MAX_SEARCHED):
            if entry.of_job.startswith(prefix):
                matches.setdefault(entry.of_job, self._of_entry(entry))
        if len(matches) > 1:
            names = ", ".join(sorted(matches))
            message = f"{name} means several jobs: {names}; write more of the id"
            raise UsageError(message)
        if not matches:
            raise _not_found(name)
        return next(iter(matches.values()))

    def _of_entry(self, entry: CostEntry) -> FoundJob:
        """Return the job of an entry. That of a duplicate names no manifest."""
        job = self._items.job(entry.of_job)
        if job is not None:
            return found_job_of(job)
        key = entry.upload.removeprefix("s3://").partition("/")[2]
        return FoundJob(entry.of_job, key, results_prefix(key, entry.of_job))

    def _of_key(self, key: str) -> list[Job]:
        """Return the jobs of a key that have results or a status in S3."""
        prefix = results_prefix(key, "")
        pages = self._deployment.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._deployment.results, Prefix=prefix, Delimiter="/"
        )
        names = (folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", []))
        ids = [name.removeprefix(prefix).strip("/") for name in names]
        jobs = [self._items.job(name) for name in ids if _ID.fullmatch(name)]
        return [job for job in jobs if job is not None and job.key == key]

    def _unclaimed(self, key: str, claimed: Collection[str]) -> FoundJob | None:
        """Return the job that the newest version of an upload will become; None if it is claimed.

        If earlier versions have jobs, a new one counts only for `CLAIM_TIME`: a copy of an earlier one is never claimed.
        """
        if suffix_of(key) is None:
            return None
        uploads = self._deployment.uploads
        try:
            head = self._deployment.s3.head_object(Bucket=uploads, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"404", *DENIED_CODES}:
                raise
            return None
        job = job_of_version(uploads, key, head.get("VersionId"))
        is_new = datetime.now(UTC) - head["LastModified"] < CLAIM_TIME
        return None if claimed and (job.id in claimed or not is_new) else job

    def _document(self, key: str) -> dict[str, Any] | None:
        try:
            answer = self._deployment.s3.get_object(Bucket=self._deployment.results, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
            return None
        document: dict[str, Any] = msgspec.json.decode(answer["Body"].read())
        return document


def found_job_of(job: Job) -> FoundJob:
    """Return a job by its item."""
    return FoundJob(job.job, job.key, job.results_prefix, job)


def uploaded_job(deployment: Deployment, key: str) -> FoundJob:
    """Return the job that the newest version of an upload becomes."""
    head = deployment.s3.head_object(Bucket=deployment.uploads, Key=key)
    return job_of_version(deployment.uploads, key, head.get("VersionId"))


def job_of_version(bucket: str, key: str, version: str | None) -> FoundJob:
    """Return the job of a version of an upload; `version` is None in a bucket without versions."""
    job = job_id(bucket, key, version or NO_VERSION)
    return FoundJob(job, key, results_prefix(key, job))


def _months(now: datetime) -> Iterator[str]:
    year, month = now.year, now.month
    for _ in range(LEDGER_MONTHS):
        yield f"{year}-{month:02d}"
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)


def _not_found(name: str) -> NotFoundError:
    return NotFoundError(
        f"there is no job {name} among the running and the last {MAX_SEARCHED:,} ended ones: "
        "name it by its id, by the key of its upload, or see `relay ls`; an upload becomes a job within seconds"
    )
