"""Find the options files that govern an upload, and keep their merged content with the job."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import ObjectReader
from functions.errors import (
    DownloadError,
    ObjectNotFoundError,
    ObjectUnreadableError,
    UnreadableUploadError,
)
from functions.model.items.job import Job
from functions.model.items.stored_objects import NO_VERSION, ObjectVersion
from functions.model.options import (
    MAX_BYTES,
    InvalidOptionsError,
    Options,
    options_file_keys,
    options_of,
    parse,
)

_OF_THE_BUCKET = frozenset({"AccessDenied", "AllAccessDisabled", "NoSuchBucket"})
"""S3 error codes that concern more than one object. The step is tried again, under an alarm."""


class OptionsRejectedError(Exception):
    """An options file cannot be used.

    Attributes:
        file: its version.
        deadline_hours: the deadline that the files farther away set.
    """

    def __init__(self, file: ObjectVersion, problem: str) -> None:
        """Build the message from the reason."""
        super().__init__(problem)
        self.file = file
        self.deadline_hours: float | None = None


def find_options(
    files: ObjectReader, bucket: str, upload_key: str
) -> tuple[list[ObjectVersion], Options]:
    """Read the options files that govern an upload.

    Returns:
        Their versions, the farthest first, and the merged options.

    Raises:
        OptionsRejectedError: a file cannot be used; it is archived, for example.
        ObjectUnreadableError: S3 refuses everything in the bucket.
    """
    found: list[ObjectVersion] = []
    documents: list[dict[str, Any]] = []
    try:
        for file, text, alone in _read_all(files, bucket, upload_key):
            found.append(file)
            documents.append(_parse(file, text, alone=alone))
        return found, options_of(documents)
    except InvalidOptionsError as error:  # each file is valid by itself, together they are not
        raise OptionsRejectedError(found[-1], str(error)) from None
    except OptionsRejectedError as error:
        for document in documents:
            error.deadline_hours = document.get("deadline_hours", error.deadline_hours)
        raise


def _read_all(
    files: ObjectReader, bucket: str, upload_key: str
) -> Iterator[tuple[ObjectVersion, bytes, bool]]:
    """Yield each options file, the farthest first: its version, its text, and whether it is the folder's first."""
    for keys in options_file_keys(upload_key):
        read = [_read(files, bucket, key) for key in keys]
        for number, (file, text) in enumerate(filter(None, read)):
            yield file, text, number == 0


def _read(files: ObjectReader, bucket: str, key: str) -> tuple[ObjectVersion, bytes] | None:
    try:
        return files.read_small(bucket, key, MAX_BYTES + 1)
    except ObjectUnreadableError as error:
        if error.code in _OF_THE_BUCKET:
            raise
        raise OptionsRejectedError(ObjectVersion(bucket, key), f"it {error.why}") from None


def _parse(file: ObjectVersion, text: bytes, *, alone: bool) -> dict[str, Any]:
    if not alone:
        raise OptionsRejectedError(file, "there is also a .toml file; keep one of them")
    if len(text) > MAX_BYTES:
        raise OptionsRejectedError(file, f"longer than {MAX_BYTES:,} bytes; shorten it")
    try:
        return parse(file.key, text)
    except InvalidOptionsError as error:
        raise OptionsRejectedError(file, str(error)) from None


def save_options(files: ObjectStore, job: Job, options: Options) -> str:
    """Write the merged options of a job into the results bucket. Return the key.

    Each invocation has its own key, because one whose lease has expired may still write other options.
    """
    key = f"work/{job.job}/{job.owner}.options.json"
    files.put(key, msgspec.json.encode(options))
    return key


def load_options(files: ObjectStore, job: Job) -> Options:
    """Read the options that were frozen when planning began. If they were deleted, rebuild them.

    Raises:
        UnreadableUploadError: they were deleted, and the options files cannot be read again.
        DownloadError: they cannot be read now.
    """
    if job.options_key is None:
        return Options()
    try:
        text = b"".join(files.read(files.results_object(job.options_key)))
    except ObjectNotFoundError:
        return _restore_options(files, job)
    except ObjectUnreadableError as error:  # planning takes such an error for one of the upload
        raise DownloadError(str(error)) from None
    return msgspec.json.decode(text, type=Options)


def _restore_options(files: ObjectStore, job: Job) -> Options:
    """Merge the frozen versions of the options files again. A file without a version may have changed since."""
    try:
        documents = [_read_frozen(files, file) for file in job.options_files]
    except ObjectUnreadableError as error:
        if error.code in _OF_THE_BUCKET:
            raise DownloadError(str(error)) from None
        message = (
            f"the options of the job, {job.options_key}, were deleted, and cannot be rebuilt: {error}; "
            "upload the file again"
        )
        raise UnreadableUploadError(message) from None
    options = options_of(documents)
    save_options(files, job, options)
    return options


def _read_frozen(files: ObjectStore, file: ObjectVersion) -> dict[str, Any]:
    if file.version in (None, NO_VERSION):
        raise ObjectUnreadableError(file.uri, "has no versions")
    return parse(file.key, b"".join(files.read(file)))


def uris_of(files: Sequence[ObjectVersion]) -> list[dict[str, str | None]]:
    """Return the addresses and versions of options files, for manifests and events."""
    return [{"uri": file.uri, "version": file.version} for file in files]
