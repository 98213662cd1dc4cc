"""Read, check and cut a local upload into a chunk's files, with the parts that plan is made of: no S3, no table."""

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

from functions.batches.files import blocks_of
from functions.batches.ledger import ChunkFiles
from functions.batches.readers import jsonl
from functions.batches.readers.record import Place
from functions.batches.requests import check

MOST = 32_000_000


def main(upload: str) -> None:
    """Cut it whole into one chunk."""
    began = time.perf_counter()
    with Path(upload).open("rb") as file, TemporaryFile() as body, TemporaryFile() as rows:
        chunk = ChunkFiles("0" * 20, "00001", 1, body, rows)
        for number, record in enumerate(jsonl.read(blocks_of(file), Place(), MOST), 1):
            chunk.add(number, record, check(record, row_bytes=MOST, api_version="2026-10-21"))
        chunk.finish()
    print(json.dumps({"work_s": time.perf_counter() - began, "rows": chunk.rows}))


if __name__ == "__main__":
    main(sys.argv[1])
