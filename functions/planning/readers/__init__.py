"""What reads uploads, by suffix: add a format by adding a module here and a line to `READERS`.

A reader is a function of the upload's bytes that yields one `Record` a row, in order, and can begin at any
record's first byte; it may leave whole `LineBlock` together. What no reader claims is ignored.
"""

from collections.abc import Callable, Iterator

from functions.model.rows import LineBlock, Position, Record
from functions.planning.readers import jsonl

Reader = Callable[[Iterator[bytes], Position, int], Iterator[LineBlock | Record]]

READERS: dict[str, Reader] = {".jsonl": jsonl.pieces, ".ndjson": jsonl.pieces}


def parser_of(key: str) -> str | None:
    """Name the reader that claims an upload by its key's suffix; None where none does."""
    lowered = key.lower()
    return next((suffix for suffix in READERS if lowered.endswith(suffix)), None)
