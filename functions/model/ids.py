"""The ids of jobs, chunks and batches, and the `custom_id` of each request.

A batch has no name, and no endpoint returns its inputs. Only the `custom_id` comes back with the results, so
it identifies our batches. ``3f9ac21b04d7c1e89a02-00001-1-000000017`` is the job, chunk, attempt and row.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

JOB_DIGITS, ROW_DIGITS = 20, 9
"""Hex digits of a job's id, and the least decimal digits of a row's number."""
_COMPRESSION = re.compile(r"\.(gz|zst|bz2)\Z", re.IGNORECASE)
_SUFFIX = re.compile(r"\.[^./]*\Z")
_REQUEST_ID = re.compile(r"([0-9a-f]{20})-([0-9]{5,}[ab]*)-([0-9]{1,9})-([0-9]{9,18})")


def job_id(bucket: str, key: str, version: str) -> str:
    """Return the job's id for an upload: 20 hex digits, the same for every delivery of its event."""
    upload = f"{bucket}\n{key}\n{version}".encode()
    return hashlib.sha256(upload).hexdigest()[:JOB_DIGITS]


def stem_of(key: str) -> str:
    """Return a key without its suffix: ``in/march`` for ``in/march.jsonl`` and for ``in/march.jsonl.gz``."""
    return _SUFFIX.sub("", _COMPRESSION.sub("", key))


def chunk_name(number: int) -> str:
    """Return a chunk's name: ``00001``. The halves of a split chunk append a letter, which keeps the order."""
    return f"{number:05d}"


def batch_name(chunk: str, attempt: int) -> str:
    """Return a batch's name within its job: ``00001-1``, which is the table's sort key."""
    return f"{chunk}-{attempt}"


def custom_id_template(job: str, chunk: str, attempt: int) -> bytes:
    """Return a template: ``template % row`` is a row's `custom_id`. It is faster than `RequestId` for many rows."""
    return f"{job}-{chunk}-{attempt}-%0{ROW_DIGITS}d".encode()


@dataclass(frozen=True)
class RequestId:
    """The parts of one of our `custom_id` values."""

    job: str
    chunk: str
    attempt: int
    row: int

    def __str__(self) -> str:
        """Return the `custom_id`: at most 64 characters of ``[a-zA-Z0-9_-]``."""
        return f"{self.job}-{self.chunk}-{self.attempt}-{self.row:09d}"

    @property
    def batch(self) -> str:
        """The sort key of the batch that contained the request."""
        return batch_name(self.chunk, self.attempt)

    @classmethod
    def parse(cls, custom_id: str) -> Self | None:
        """Read a `custom_id`. Return None if it is not one of ours."""
        match = _REQUEST_ID.fullmatch(custom_id)
        if match is None:
            return None
        return cls(match[1], match[2], int(match[3]), int(match[4]))
