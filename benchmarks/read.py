"""Read a local upload of any kind with the relay's own reader, and count its rows.

python -m benchmarks.read FILE
"""

import json
import sys
import time
from pathlib import Path

from benchmarks.cpu import cpu_s
from cli.local_files import LocalFile
from functions.model.rows import LineBlock
from functions.readers import READERS, decoded
from functions.readers.detect import detect

MAX_ROW_BYTES = 32_000_000


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
