"""The upload of a job, as its reader reads it."""

from collections.abc import Iterator
from dataclasses import dataclass

from functions.adapters.s3 import ObjectStore
from functions.model.items import Job, ObjectVersion


@dataclass(frozen=True)
class UploadSource:
    """The bytes of one version of an upload."""

    files: ObjectStore
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


def source_of(files: ObjectStore, job: Job) -> UploadSource:
    """Return the version of the upload that the job was claimed for."""
    return UploadSource(files, job.source, job.size_bytes)
