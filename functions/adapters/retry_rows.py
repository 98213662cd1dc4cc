"""Rows of the upload as they stood there: what retry.jsonl is made of. It is a convenience, and holds no answer back."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.s3 import ObjectStore
from functions.errors import DownloadError, ObjectUnreadableError, UploadLostError
from functions.model.items import Job, ObjectVersion, StoredObject

GAP = 1 << 20
"""Rows that lie closer than this are read in one request: its price is that of reading so much."""
WAITED_OUT = 4
"""Tries of a stage in which trouble that may pass is waited out, over most of an hour; then answers go without the file."""
logger = Logger(child=True)


def retry_part(
    files: ObjectStore, key: str, rows: Iterable[bytes], tries: int
) -> tuple[StoredObject | None, str | None]:
    """Write rows of the upload into a part of retry.jsonl.

    Args:
        files: the buckets.
        key: the part's.
        rows: read from the upload while they are written.
        tries: how often the stage has been tried, this time included.

    Returns:
        The part; or None, and a sentence that says why the upload cannot be read.

    Raises:
        UploadLostError: it may be read at one of the next tries.
    """
    try:
        return files.write(key, _told_apart(rows)), None
    except UploadLostError as error:
        if error.passing and tries < WAITED_OUT:
            raise
        logger.warning("no part of retry.jsonl", extra={"part": key, "problem": str(error)})
        return None, str(error)


def _told_apart(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Tell trouble with the upload from trouble with what is written."""
    try:
        yield from rows
    except ObjectUnreadableError as error:
        raise UploadLostError(error.why, passing=False) from error
    except (DownloadError, ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else None
        why = f"could not be read in several tries ({code or type(error).__name__})"
        raise UploadLostError(why, passing=True) from error


def of_upload(
    files: ObjectStore, job: Job, at: Sequence[int], sizes: Sequence[int]
) -> Iterator[bytes]:
    """Read rows of the upload, one a line, byte for byte.

    Args:
        files: the buckets.
        job: whose upload.
        at: the offset of each row, in order.
        sizes: the length of each.

    Raises:
        ObjectUnreadableError: S3 refuses the upload, or it is shorter than it was.
    """
    source = job.source
    for run in _runs(at, sizes):
        stop = at[run.stop - 1] + sizes[run.stop - 1]
        blocks = chain(files.read(source, at[run.start], stop), _too_short(source))
        yield from _cut(blocks, at[run.start], ((at[row], sizes[row]) for row in run))


def _too_short(source: ObjectVersion) -> Iterator[bytes]:
    """Stand behind the last block: who asks for it lacks bytes that were there. Only without a version can they go."""
    raise ObjectUnreadableError(
        source.uri, "is shorter than it was: another was uploaded in its place"
    )
    yield


def _runs(at: Sequence[int], sizes: Sequence[int]) -> Iterator[range]:
    """Group rows that lie near one another, by their indices."""
    first = 0
    for row in range(1, len(at)):
        if at[row] - (at[row - 1] + sizes[row - 1]) > GAP:
            yield range(first, row)
            first = row
    if at:
        yield range(first, len(at))


def _cut(blocks: Iterator[bytes], at: int, run: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    """Cut rows out of a stream that begins at the first; a row longer than a block passes in pieces."""
    held = b""
    for begin, size in run:
        while begin > at + len(held):
            at, held = at + len(held), next(blocks)
        held, at = held[begin - at :], begin
        left = size
        while left > len(held):
            yield held
            left, at, held = left - len(held), at + len(held), next(blocks)
        yield held[:left] + b"\n"
        held, at = held[left:], at + left
