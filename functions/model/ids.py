"""The `custom_id` on the wire: ours, so that a batch found at Anthropic can be proved to be ours.

No endpoint returns a batch's inputs and a batch has no name; the `custom_id` is the one mark that comes back.
``3f9ac21b04d7c1e89a02-00001-1-000000017`` names the job, the chunk, the attempt and the row.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

JOB_DIGITS, ROW_DIGITS = 20, 9
"""Of a job's name; and of a row's number, at the least."""
_REQUEST_ID = re.compile(r"([0-9a-f]{20})-([0-9]{5,}[ab]*)-([0-9]{1,9})-([0-9]{9,18})")


def job_id(bucket: str, key: str, version: str) -> str:
    """Name the job of an upload: 20 hex digits that are the same however often its event comes."""
    upload = f"{bucket}\n{key}\n{version}".encode()
    return hashlib.sha256(upload).hexdigest()[:JOB_DIGITS]


def chunk_name(number: int) -> str:
    """Name a chunk: ``00001``. Halves of a refused one append a letter, which keeps the order."""
    return f"{number:05d}"


def batch_name(chunk: str, attempt: int) -> str:
    """Name a batch within its job: ``00001-1``; the table's sort key."""
    return f"{chunk}-{attempt}"


def custom_id_template(job: str, chunk: str, attempt: int) -> bytes:
    """Give what ``% row`` makes a `custom_id` of, for whoever writes very many."""
    return f"{job}-{chunk}-{attempt}-%0{ROW_DIGITS}d".encode()


@dataclass(frozen=True)
class RequestId:
    """What a `custom_id` of ours says: whose row this is."""

    job: str
    chunk: str
    attempt: int
    row: int

    def __str__(self) -> str:
        """Write it as the API takes it: at most 64 of ``[a-zA-Z0-9_-]``."""
        return f"{self.job}-{self.chunk}-{self.attempt}-{self.row:09d}"

    @property
    def batch(self) -> str:
        """The sort key of the batch it was sent in."""
        return batch_name(self.chunk, self.attempt)

    @classmethod
    def parse(cls, custom_id: str) -> Self | None:
        """Read a `custom_id`; None where it is not one of ours."""
        match = _REQUEST_ID.fullmatch(custom_id)
        if match is None:
            return None
        return cls(match[1], match[2], int(match[3]), int(match[4]))
