"""Find rows of an upload whose params are equal, byte for byte as they are sent: they share one request.

Planning remembers each row that is sent by a digest of its params. SQLite keeps the digests on the disk. Those of each
chunk are also stored in S3, for the invocation that continues the plan.
"""

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import blake2b
from typing import cast

from aws_lambda_powertools import Logger

from functions.adapters.upload_source import ObjectReader
from functions.errors import ObjectNotFoundError
from functions.model import ids
from functions.model.items.job import Job
from functions.model.items.stored_objects import ObjectVersion

MAX_ROWS = 10_000_000
"""The most rows that are remembered: they take 300 MB of disk. All later rows are compared with these alone."""
_DIGEST_BYTES = 16
"""Among ten million rows, two different ones have the same digest with a probability of 10^-25."""
_RECORD = struct.Struct(f"<Q{_DIGEST_BYTES}s")
_CACHE_KIB = 8 << 10
_GROUP_BYTES = 25_000 * _RECORD.size
"""Bytes of stored digests that are loaded together: this takes 5 MB of memory."""
_REMEMBER = (
    "INSERT INTO first_rows VALUES (?, ?) ON CONFLICT DO UPDATE SET row = row RETURNING row"
)
logger = Logger(child=True)


class EqualRows:
    """The rows that are sent, found by the digests of their params."""

    def __init__(self) -> None:
        # A temporary file, which SQLite writes only once its cache is full.
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE first_rows (digest BLOB PRIMARY KEY, row INTEGER) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")
        self._rows = 0

    def add_all(self, records: bytes | bytearray) -> None:
        """Remember rows that were stored in S3. They come after all rows that are remembered so far.

        They are inserted in the order of their digests: in any other, each row would read and write a page of the database.
        """
        if self._rows >= MAX_ROWS:
            return
        rows = sorted((digest, row) for row, digest in _RECORD.iter_unpack(records))
        remember = "INSERT OR IGNORE INTO first_rows VALUES (?, ?)"
        self._rows += self._database.executemany(remember, rows).rowcount

    def first_row(self, digest: bytes, row: int) -> int:
        """Return the first row with this digest. If there is none, remember `row` and return it."""
        if self._rows >= MAX_ROWS:
            query = "SELECT row FROM first_rows WHERE digest = ?"
            known = self._database.execute(query, (digest,)).fetchone()
            return row if known is None else cast("int", known[0])
        ((first,),) = self._database.execute(_REMEMBER, (digest, row)).fetchall()
        self._rows += first == row
        return cast("int", first)

    def close(self) -> None:
        """Delete the digests from the disk."""
        self._database.close()


def digest_of(params: bytes, betas: Sequence[str]) -> bytes:
    """Return the digest of a request: of its params and its values of `anthropic-beta`, which may change the answer."""
    digest = blake2b(params, digest_size=_DIGEST_BYTES)
    digest.update("\0".join(["", *betas]).encode())
    return digest.digest()


def record_of(digest: bytes, row: int) -> bytes:
    """Return what is stored in S3 for a row that is sent."""
    return _RECORD.pack(row, digest)


def key_of(job: Job, chunk: str) -> str:
    """Return the key under which the digests of a chunk are stored."""
    return f"work/{job.job}/{chunk}.digests"


@contextmanager
def open_equal_rows(
    files: ObjectReader, results_bucket: str, job: Job
) -> Iterator[EqualRows | None]:
    """Load the digests of the chunks that are cut so far. Yield None unless equal rows share a request.

    If the digests of a chunk were deleted, later rows that equal its rows are sent, too.

    Raises:
        OSError: the disk is full.
    """
    if not job.equal_rows_once:
        yield None
        return
    try:
        with closing(EqualRows()) as equal_rows:
            _load(equal_rows, files, results_bucket, job)
            yield equal_rows
    except sqlite3.OperationalError as error:  # the disk is full, or it failed
        raise OSError(str(error)) from error


def _load(equal_rows: EqualRows, files: ObjectReader, results_bucket: str, job: Job) -> None:
    stored = bytearray()
    for number in range(1, job.checkpoint.chunk + 1):
        key = key_of(job, ids.chunk_name(number))
        try:
            stored += b"".join(files.read(ObjectVersion(results_bucket, key)))
        except ObjectNotFoundError:
            logger.warning("digests deleted", extra={"job": job.job, "chunk": number})
        if len(stored) >= _GROUP_BYTES:
            equal_rows.add_all(stored)
            stored = bytearray()
    equal_rows.add_all(stored)
