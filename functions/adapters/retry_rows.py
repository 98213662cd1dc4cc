"""Write the retry file from rows of the upload. It is best effort: its failure never delays results."""

from collections.abc import Iterable, Iterator

from aws_lambda_powertools import Logger
from botocore.exceptions import BotoCoreError, ClientError

from functions.adapters.s3 import ObjectStore
from functions.errors import (
    DownloadError,
    ObjectUnreadableError,
    UnreadableUploadError,
    UploadLostError,
)
from functions.model.items.stored_objects import StoredObject

MAX_WAITING_TRIES = 4
"""Tries of the retry file and the exports, over most of an hour, that wait for AWS. Later tries omit them."""
logger = Logger(child=True)


def retry_part(
    files: ObjectStore, key: str, rows: Iterable[bytes], tries: int
) -> tuple[StoredObject | None, str | None]:
    """Write rows of the upload into a part of the retry file.

    A try that is killed counts, and so does any other failure, so that the answers are delivered in the end.

    Args:
        files: the object store.
        key: the part's key.
        rows: the rows, read from the upload during the write.
        tries: the tries of the retry file, including this one.

    Returns:
        The part; or None, and a sentence that says why there is none.

    Raises:
        UploadLostError: the upload may be readable in one of the next tries.
    """
    if tries > MAX_WAITING_TRIES:
        return None, f"not written in {MAX_WAITING_TRIES} tries"
    try:
        return files.write(key, _translate_upload_errors(rows)), None
    except UploadLostError as error:
        if error.passing and tries < MAX_WAITING_TRIES:
            raise
        logger.warning("retry file part not written", extra={"part": key, "problem": str(error)})
        return None, str(error)


def _translate_upload_errors(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Translate errors of the upload, so that they differ from errors of the write."""
    try:
        yield from rows
    except ObjectUnreadableError as error:
        raise UploadLostError(error.why, passing=False) from error
    except (
        UnreadableUploadError
    ) as error:  # a bucket without versioning: another upload replaced it
        why = "cannot be read as when it was planned; a new upload replaced it"
        raise UploadLostError(why, passing=False) from error
    except (DownloadError, ClientError, BotoCoreError) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else None
        why = f"could not be read in several tries ({code or type(error).__name__})"
        raise UploadLostError(why, passing=True) from error
