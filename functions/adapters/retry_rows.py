"""The retry file, made of the upload's own rows. It is a convenience and never holds back an answer."""

from collections.abc import Iterable, Iterator

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.s3 import ObjectStore
from functions.errors import DownloadError, ObjectUnreadableError, UploadLostError
from functions.model.items import StoredObject

WAITED_OUT = 4
"""Tries of a stage in which trouble that may pass is waited out, over most of an hour; then answers go without the file."""
logger = Logger(child=True)


def retry_part(
    files: ObjectStore, key: str, rows: Iterable[bytes], tries: int
) -> tuple[StoredObject | None, str | None]:
    """Write rows of the upload into a part of the retry file.

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
        logger.warning("no part of the retry file", extra={"part": key, "problem": str(error)})
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
