"""Objects in S3 that an item refers to."""

import msgspec

NO_VERSION = "null"
"""The version id that S3 and jobs use for objects in a bucket without versioning."""


class ObjectVersion(msgspec.Struct, frozen=True):
    """One S3 object; for an upload also its version, since a later version is another upload."""

    bucket: str
    key: str
    version: str | None = None

    @property
    def uri(self) -> str:
        """The address of the object: ``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object of the results bucket that will be joined with others: its key, size in bytes and CRC-32."""

    key: str
    size: int
    crc32: int


class ChunkOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The files of a collected chunk.

    Attributes:
        results: its result lines, in row order.
        errors: the result lines of rows that did not succeed; only after the last attempt.
        retry: the upload's lines of these rows; only after the last attempt.
        retry_problem: why `retry` is missing.
        exports: path of an export → its part; only after the last attempt.
        export_problem: why `exports` is missing.
        problem: what else the rows lack.
    """

    results: StoredObject
    errors: StoredObject | None = None
    retry: StoredObject | None = None
    retry_problem: str | None = None
    exports: dict[str, StoredObject] = {}
    export_problem: str | None = None
    problem: str | None = None

    @property
    def objects(self) -> list[StoredObject]:
        """Its objects, without the parts of exports."""
        every = (self.results, self.errors, self.retry)
        return [stored for stored in every if stored is not None]
