"""The registry of readers. To add a format, add a module to this package and a line to `READERS`.

`contract.Reader` defines a reader. Uploads whose suffix is not in `READERS` are ignored.
"""

from typing import Any

import msgspec

from functions.model.items import Job
from functions.model.rows import Position
from functions.readers import jsonl
from functions.readers.contract import Reader

READERS: dict[str, Reader[Any]] = {".jsonl": jsonl, ".ndjson": jsonl}


def parser_of(key: str) -> str | None:
    """Return the suffix in `READERS` that a key ends with, ignoring case; None if there is none."""
    lowered = key.lower()
    return next((suffix for suffix in READERS if lowered.endswith(suffix)), None)


def position_of(job: Job) -> Position:
    """Return the position where planning of a job resumes, as its reader's own type."""
    position_type: type[Position] = type(READERS[job.parser].START)
    return msgspec.convert(job.checkpoint.position, position_type)


def stored(position: Position) -> dict[str, Any]:
    """Return a position in the form that a job's checkpoint stores; `position_of` reads it back."""
    fields: dict[str, Any] = msgspec.to_builtins(position)
    return fields
