"""Read a local upload of any kind with the relay's own reader, and count its rows.

python -m benchmarks.read FILE
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu import cpu_s
from functions.model.rows import LineBlock
from functions.readers import READERS, decoded
from functions.readers.detect import detect

MAX_ROW_BYTES = 32_000_000
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class LocalFile:
    """A local file as a source of a reader."""

    path: Path
    seekable = True

    @property
    def uri(self) -> str:
        """Return the path."""
        return str(self.path)

    @property
    def size_bytes(self) -> int:
        """Return the length of the file in bytes."""
        return self.path.stat().st_size

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from ``start`` up to ``stop``; by default, to the end."""
        remaining = (self.size_bytes if stop is None else stop) - start
        with self.path.open("rb") as file:
            file.seek(start)
            while remaining > 0 and (block := file.read(min(remaining, BLOCK_BYTES))):
                remaining -= len(block)
                yield block


def main(upload: str) -> None:
    """Read the upload to its end."""
    started, cpu_started = time.perf_counter(), cpu_s()
    source = LocalFile(Path(upload))
    upload_format = detect(source, source.path.name)
    reader = READERS[upload_format.reader]
    rows = 0
    for piece in reader.read(decoded(source, upload_format), reader.START, MAX_ROW_BYTES):
        rows += len(piece.breaks) + 1 if isinstance(piece, LineBlock) else 1
    usage = {
        "work_s": time.perf_counter() - started,
        "work_cpu_s": cpu_s() - cpu_started,
    }
    print(json.dumps({**usage, "rows": rows}))


if __name__ == "__main__":
    main(sys.argv[1])
