"""Store a chunk's files in the results bucket."""

from typing import IO

from functions.adapters.s3 import ObjectStore
from functions.model import ids
from functions.model.chunk_files import ChunkKeys
from functions.model.items.batch import Batch
from functions.model.items.job import Job
from functions.model.streams import read_blocks


def store_chunk_files(
    files: ObjectStore,
    item: Job | Batch,
    chunk: str,
    attempt: int,
    body: IO[bytes],
    ledger: IO[bytes],
) -> ChunkKeys:
    """Store both files of a chunk. Their keys contain the owner's token, so no other owner overwrites them.

    Args:
        files: the object store.
        item: the job or the batch that this invocation owns.
        chunk: the name of the chunk.
        attempt: the attempt that sends it.
        body: the file of the request body.
        ledger: the file of the ledger.
    """
    stem = f"work/{item.job}/{ids.batch_name(chunk, attempt)}/{item.owner}"
    keys = ChunkKeys(f"{stem}.requests.json", f"{stem}.ledger.jsonl")
    for file, key in zip((body, ledger), keys, strict=True):
        file.seek(0)
        files.write(key, read_blocks(file))
    return keys
