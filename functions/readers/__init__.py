"""The registry of readers. To add a format, add a module to this package and a line to `READERS`.

`contract.Reader` defines a reader. The content of an upload decides which one reads it. Objects whose suffix is
not in `SUFFIXES` are ignored.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from functions.model.items.job import Job
from functions.model.options import is_options_file
from functions.model.rows import LineBlock, Position, Record
from functions.model.upload_format import UploadFormat
from functions.readers import delimited, json_values, jsonl, parquet, xlsx
from functions.readers.containers import unpacked
from functions.readers.contract import Reader, Source
from functions.readers.encodings import transcoded

READERS: dict[str, Reader[Any]] = {
    "jsonl": jsonl,
    "json": json_values,
    "csv": delimited,
    "xlsx": xlsx.Workbook(),
    "parquet": parquet,
}
TABLES = frozenset({"csv", "xlsx", "parquet"})
"""Readers of tables. Their rows always need a template."""
_TEXTS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
_COMPRESSIONS = ("", ".gz", ".zst", ".bz2")
SUFFIXES = (*(text + packed for packed in _COMPRESSIONS for text in _TEXTS), ".xlsx", ".parquet")
"""Suffixes of keys that are read, in lower case."""


def suffix_of(key: str) -> str | None:
    """Return the suffix in `SUFFIXES` that a key ends with, ignoring case; None if there is none.

    None for options files, too: they are stored among the uploads.
    """
    if is_options_file(key):
        return None
    lowered = key.lower()
    return next((suffix for suffix in SUFFIXES if lowered.endswith(suffix)), None)


def format_of(job: Job) -> UploadFormat:
    """Return the format of a job's upload. A job that was claimed before formats were stored has JSON Lines."""
    return job.format or UploadFormat()


def decoded(source: Source, upload_format: UploadFormat) -> Source:
    """Return an upload as its reader expects it: unpacked, and text in UTF-8."""
    if upload_format.container is not None:
        source = unpacked(source, upload_format.container)
    return transcoded(source, upload_format.encoding)


def reader_for(upload_format: UploadFormat) -> Reader[Any]:
    """Return the reader of a format."""
    if upload_format.sheet is not None:
        return xlsx.Workbook(upload_format.sheet)
    return READERS[upload_format.reader]


def reader_of(job: Job) -> Reader[Any]:
    """Return the reader of a job's upload."""
    return reader_for(format_of(job))


def records_of(pieces: Iterator[LineBlock | Record], row_bytes: int) -> Iterator[Record]:
    """Yield the records of everything that a reader yields."""
    for piece in pieces:
        if isinstance(piece, LineBlock):
            yield from jsonl.split_records(piece, row_bytes)
        else:
            yield piece


def position_of(job: Job) -> Position:
    """Return the position where planning of a job resumes, as its reader's own type."""
    position_type: type[Position] = type(reader_of(job).START)
    return msgspec.convert(job.checkpoint.position, position_type)


def stored(position: Position) -> dict[str, Any]:
    """Return a position in the form that a job's checkpoint stores; `position_of` reads it back."""
    fields: dict[str, Any] = msgspec.to_builtins(position)
    return fields
