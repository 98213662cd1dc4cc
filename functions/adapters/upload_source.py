"""The upload of a job, as its reader reads it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from functions.model.items.job import Job
from functions.model.items.stored_objects import ObjectVersion
from functions.readers import decoded, format_of
from functions.readers.contract import Source


class ObjectReader(Protocol):
    """Where uploads and options files are read: the buckets, or the disk of a person who checks a file."""

    def read(
        self, source: ObjectVersion, start: int = 0, stop: int | None = None
    ) -> Iterator[bytes]:
        """Stream an object, or a range of it; see `ObjectStore.read`."""

    def read_small(self, bucket: str, key: str, limit: int) -> tuple[ObjectVersion, bytes] | None:
        """Read a small object; see `ObjectStore.read_small`."""


@dataclass(frozen=True)
class UploadSource:
    """The bytes of one version of an upload."""

    files: ObjectReader
    upload: ObjectVersion
    size_bytes: int

    @property
    def seekable(self) -> bool:
        """Return True: S3 serves any range."""
        return True

    @property
    def uri(self) -> str:
        """The upload's address: ``s3://bucket/key``."""
        return self.upload.uri

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the upload, or a range of it; see `ObjectStore.read`."""
        return self.files.read(self.upload, start, stop)


def object_of(files: ObjectReader, job: Job) -> UploadSource:
    """Return the version of the upload that the job was claimed for, as it is stored."""
    return UploadSource(files, job.source, job.size_bytes)


def source_of(files: ObjectReader, job: Job) -> Source:
    """Return the text of a job's upload: unpacked, and in UTF-8."""
    return decoded(object_of(files, job), format_of(job))
