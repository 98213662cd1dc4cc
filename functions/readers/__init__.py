"""The registry of readers, by suffix: add a format by adding a module here and a line to `READERS`.

`contract.Reader` says what a reader is. An upload whose suffix is not in `READERS` is ignored.
"""

from typing import Any

import msgspec

from functions.model.items import Job
from functions.model.rows import Position
from functions.readers import jsonl
from functions.readers.contract import Reader

READERS: dict[str, Reader[Any]] = {".jsonl": jsonl, ".ndjson": jsonl}


def parser_of(key: str) -> str | None:
    """Return the suffix in `READERS` that a key ends with, in upper or lower case; None if there is none."""
    lowered = key.lower()
    return next((suffix for suffix in READERS if lowered.endswith(suffix)), None)


def position_of(job: Job) -> Position:
    """Return where planning of a job's upload goes on: the position that `stored` wrote."""
    kind: type[Position] = type(READERS[job.parser].START)
    return msgspec.convert(job.checkpoint.position, kind)


def stored(position: Position) -> dict[str, Any]:
    """Return a position as a job's checkpoint keeps it."""
    members: dict[str, Any] = msgspec.to_builtins(position)
    return members
