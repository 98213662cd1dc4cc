"""Read, validate and cut a local upload into chunk files, with the code of plan but without S3 and table."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

from functions.model.chunk_files import ChunkWriter
from functions.model.rows import LinePosition, ValidRows
from functions.model.streams import read_blocks
from functions.planning.fast_path import validate_all
from functions.readers import jsonl

MAX_ROW_BYTES = 32_000_000


def main(upload: str) -> None:
    """Cut the upload into one chunk."""
    started, cpu_started = time.perf_counter(), time.process_time()
    with Path(upload).open("rb") as file, TemporaryFile() as body, TemporaryFile() as rows:
        chunk = ChunkWriter("0" * 20, "00001", 1, body, rows)
        pieces = jsonl.pieces(read_blocks(file), LinePosition(), MAX_ROW_BYTES)
        for valid in validate_all(pieces, row_bytes=MAX_ROW_BYTES, api_version="2026-10-21"):
            if isinstance(valid, ValidRows):
                chunk.add_valid(chunk.rows + 1, valid)
            else:
                chunk.add(chunk.rows + 1, *valid)
        chunk.finish()
    print(
        json.dumps(
            {
                "work_s": time.perf_counter() - started,
                "work_cpu_s": time.process_time() - cpu_started,
                "rows": chunk.rows,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
