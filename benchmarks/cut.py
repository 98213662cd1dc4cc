"""Read, check and cut a local upload into a chunk's files, with the parts that plan is made of: no S3, no table."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

from functions.batches.blocks import blocks_of
from functions.batches.bulk import Plain, checked
from functions.batches.ledger import ChunkFiles
from functions.batches.readers import jsonl
from functions.batches.readers.record import Place

MOST = 32_000_000


def main(upload: str) -> None:
    """Cut it whole into one chunk."""
    began, spent = time.perf_counter(), time.process_time()
    with Path(upload).open("rb") as file, TemporaryFile() as body, TemporaryFile() as rows:
        chunk = ChunkFiles("0" * 20, "00001", 1, body, rows)
        pieces = jsonl.pieces(blocks_of(file), Place(), MOST)
        for found in checked(pieces, row_bytes=MOST, api_version="2026-10-21"):
            if isinstance(found, Plain):
                chunk.add_plain(chunk.rows + 1, found)
            else:
                chunk.add(chunk.rows + 1, *found)
        chunk.finish()
    print(
        json.dumps(
            {
                "work_s": time.perf_counter() - began,
                "work_cpu_s": time.process_time() - spent,
                "rows": chunk.rows,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
