"""The contract of an export: results in the shape of another tool.

Each chunk's rows become one part of each file, written when the chunk is collected. The parts are joined when the
job is assembled. So an export is a head, lines in row order, and small closing files made from counts alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec


class ExportRow(msgspec.Struct, frozen=True):
    """One row of a job with its result.

    Attributes:
        job: the job's id.
        row: its number, from 1.
        custom_id: the user's custom_id, as JSON.
        result: the row's result in results.jsonl, as JSON: the API's own, or ``{"type":"rejected",…}``.
        record: the row of the upload, as JSON; None if it is too long or cannot be read again.
        ended_at: when its batch ended, in seconds since 1970.
    """

    job: str
    row: int
    custom_id: bytes
    result: bytes
    record: bytes | None
    ended_at: int


class ExportContext(msgspec.Struct, frozen=True, kw_only=True):
    """What all rows of a job share.

    Attributes:
        name: the file name of the upload, without folder: ``tickets.csv``.
        columns: the columns of a table, in order; empty for other uploads.
        schema: the JSON schema of the answers in the job's template; None without one.
    """

    name: str
    columns: Sequence[str] = ()
    schema: Mapping[str, Any] | None = None


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a whole job, for closing files.

    Attributes:
        job: the job's id.
        outcome: succeeded, partial, failed or canceled.
        outcomes: rows by outcome: succeeded, errored, expired, canceled, rejected.
        usage: model → the API's usage members, summed.
        times: uploaded_at, claimed_at, ended_at, canceled_at in ISO 8601; None where it did not happen.
        files: path of each exported file → its URI.
        upload: the URI of the upload.
        failure: why the job failed; None if it did not.
        rejections: rows rejected before they were sent, by code.
        first_record: the first row of the upload, as JSON; None if it cannot be read again.
    """

    job: str
    outcome: str
    outcomes: Mapping[str, int]
    usage: Mapping[str, Mapping[str, int]]
    times: Mapping[str, str | None]
    files: Mapping[str, str]
    upload: str
    failure: str | None = None
    rejections: Mapping[str, int] = {}
    first_record: bytes | None = None


class Export(Protocol):
    """Writes the results of a job in another shape. A module or an instance of a class."""

    def paths(self, context: ExportContext) -> tuple[str, ...]:
        """Return the paths of its files below the job's results: ``openai/output.jsonl``."""

    def head(self, path: str, context: ExportContext) -> bytes:
        """Return the first bytes of a file, such as a CSV header; empty if it has none."""

    def lines(self, row: ExportRow, context: ExportContext) -> Iterator[tuple[str, bytes]]:
        """Yield the lines of a row: the path of the file and the line with its line end."""

    def closing(self, summary: JobSummary, context: ExportContext) -> dict[str, bytes]:
        """Return small files written when the job is assembled: path → content."""
