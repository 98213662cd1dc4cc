"""Make results.parquet of the joined parts of the export, in a process of bounded memory."""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.errors import RelayError
from functions.exports import parquet_writer, results_csv
from functions.exports.contract import ExportContext
from functions.exports.parquet_writer import Task
from functions.model.items.job import Job
from functions.model.items.stored_objects import StoredObject
from functions.model.streams import read_blocks
from functions.readers import format_of
from functions.readers.child_process import printed_lines
from functions.readers.parquet_rows import TOO_LARGE

MAX_BYTES = 1_500_000_000
"""Most bytes of rows and upload. They and the file are on the function's disk, which has 4 GB."""
_PROGRAM = Path(parquet_writer.__file__)


def write_parquet(
    files: ObjectStore, job: Job, lines: StoredObject, context: ExportContext, key: str
) -> StoredObject:
    """Write results.parquet.

    Args:
        files: the object store.
        job: the job.
        lines: the joined parts of the export.
        context: what all rows share.
        key: the key of the file.

    Raises:
        RelayError: it could not be written; the message says why.
    """
    is_parquet = format_of(job).reader == "parquet"
    size = lines.size + (job.size_bytes if is_parquet else 0)
    if size > MAX_BYTES:
        message = f'results.parquet: its rows have {size:,} bytes; the limit is {MAX_BYTES:,}; add "csv" to outputs'
        raise RelayError(message)
    with TemporaryDirectory() as folder:
        target, rows, upload = (Path(folder, name) for name in ("target", "rows", "upload"))
        _save(rows, files.read(files.results_object(lines.key)))
        if is_parquet:
            _save(upload, source_of(files, job).read())
        names = results_csv.names(context)
        own = len(names) - len(results_csv.added_names(context))
        task = Task(
            target=str(target),
            lines=str(rows),
            size_bytes=size,
            rows=job.checkpoint.row,
            names=names,
            counts=[own + number for number in results_csv.COUNTS],
            upload=str(upload) if is_parquet else None,
            own=own,
        )
        _run(task)
        with target.open("rb") as file:
            return files.write(key, read_blocks(file))


def _save(path: Path, blocks: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(blocks)


def _run(task: Task) -> None:
    running = printed_lines(_PROGRAM, msgspec.json.encode(task).decode())
    code = 0
    while True:
        try:
            next(running)
        except StopIteration as end:
            code = end.value
            break
    if code == parquet_writer.MISMATCH:
        message = "results.parquet: the upload has other rows than when it was planned; a new upload replaced it"
        raise RelayError(message)
    if code == TOO_LARGE:
        message = (
            "results.parquet: the upload has pages or rows that are too large for the memory; "
            'write it with smaller row groups, or add "csv" to outputs'
        )
        raise RelayError(message)
    if code:
        message = (
            f'results.parquet: DuckDB could not write it (exit code {code}); add "csv" to outputs'
        )
        raise RelayError(message)
