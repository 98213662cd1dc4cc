"""A fast fuzz target without the stages: upload, chunk files, results, output lines, retry."""

import io
import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

from functions.adapters.rewrite import rewrite
from functions.adapters.s3 import ObjectStore
from functions.adapters.upload_source import source_of
from functions.collecting.spool import Spool
from functions.model.api_results import read_line, read_result
from functions.model.chunk_files import ChunkWriter, LedgerEntry, read_ledger
from functions.model.ids import RequestId
from functions.model.items.stored_objects import StoredObject
from functions.model.multipart_plan import (
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    groups,
    join_plan,
)
from functions.model.output_lines import output_line
from functions.model.rows import LinePosition, Record
from functions.model.streams import lines
from functions.model.synthetic_results import rejected_result
from functions.readers import jsonl
from functions.services import Services
from tests.fakes.s3 import RESULTS, UPLOADS, FakeS3
from tests.unit.factories import batch, job
from tests.verification.fuzz import oracle
from tests.verification.fuzz.jobs import corrupted_results
from tests.verification.fuzz.leading_bytes import take_bytes
from tests.verification.fuzz.uploads import write

CHUNK, ROW_BYTES = "00001", 400
MISSING = b'{"type":"errored"}'
JOB = batch().job


def rows(data: bytes) -> None:
    """Check the path of rows; leading bytes set sizes, first row and corruptions."""
    (size, rows_before, code_count, hostile_size), rest = take_bytes(data, 4)
    hostile_bytes, body = rest[: hostile_size % 48], rest[hostile_size % 48 :]
    body_file, ledger_file, expected = io.BytesIO(), io.BytesIO(), oracle.expected_rows(body)
    files = ChunkWriter(JOB, CHUNK, 1, body_file, ledger_file)
    records = list(jsonl.records(_blocks(body, size + 1), LinePosition(), ROW_BYTES))
    pieces = jsonl.pieces(_blocks(body, size + 1), LinePosition(), ROW_BYTES)
    write(files, pieces, rows_before, ROW_BYTES)
    files.finish()
    entries = list(read_ledger(iter(ledger_file.getvalue().split(b"\n")[:-1])))
    corruption_codes = rest[: code_count % 32]
    stream = b"\n".join(corrupted_results(_sent(entries), corruption_codes, hostile_bytes))
    with tempfile.TemporaryFile() as disk:
        spool = Spool(disk, rows_before + 1, len(entries))
        _keep_results(spool, _blocks(stream, size + 1), entries)
        output = [
            output_line(entry.row, entry.custom_id, _result(entry, spool)) for entry in entries
        ]

    assert len(output) == len(expected), "rows out = rows in"
    for index, (expected_row, line) in enumerate(zip(expected, output, strict=True)):
        custom_id, params = oracle.request_of(expected_row.data, ROW_BYTES)
        if custom_id is None:
            custom_id = bytes(entries[index].custom_id)
            assert oracle.can_be_the_id(custom_id, expected_row.data)
        assert line.startswith(
            b'{"row":%d,"custom_id":%b,"result":' % (rows_before + 1 + index, custom_id)
        )
        offset = entries[index].params_offset
        read_rows = body_file.getvalue()[offset : offset + entries[index].params_size]
        assert (read_rows or None) == params
        assert entries[index].line == expected_row.line
    _check_retry_rows(body, records, entries, code_count)
    _check_split(body_file.getvalue(), entries)


def _blocks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[index : index + size] for index in range(0, len(body), size))


def _sent(entries: list[LedgerEntry]) -> list[bytes]:
    return [str(RequestId(JOB, CHUNK, 1, entry.row)).encode() for entry in entries if entry.sent]


def _keep_results(spool: Spool, stream: Iterator[bytes], entries: list[LedgerEntry]) -> None:
    """Store the first valid result of each row that was sent."""
    sent = {entry.row for entry in entries if entry.sent}
    for line in lines(stream):
        try:
            parsed = read_line(line)
            read_result(parsed.result)
        except msgspec.DecodeError:
            continue
        request_id = RequestId.parse(parsed.custom_id)
        if (
            request_id
            and request_id.job == JOB
            and request_id.row in sent
            and not spool.size(request_id.row)
        ):
            result = bytes(parsed.result)
            spool.put_all([request_id.row], result, [len(result)])


def _result(entry: LedgerEntry, spool: Spool) -> bytes:
    if entry.rejection is not None:
        return rejected_result(entry.rejection)
    return spool.get_all(entry.row, 1)[0] or MISSING


def _services(files: dict[str, bytes]) -> Services[Any]:
    s3: Any = FakeS3()
    for key, body in files.items():
        s3.store(RESULTS, key, body)
    s3.store(UPLOADS, "in/march.jsonl", files.get("upload", b""), "v1")
    unused: Any = None
    return Services(unused, unused, ObjectStore(RESULTS, client=s3, threads=1), unused, unused)


def _check_retry_rows(
    body: bytes, records: list[Record], entries: list[LedgerEntry], mask: int
) -> None:
    """Check that any rows of the upload can be cut out again for a retry, unchanged."""
    chosen = [index for index in range(len(entries)) if mask >> index % 8 & 1]
    offsets, sizes = (
        [entries[index].offset for index in chosen],
        [entries[index].size for index in chosen],
    )
    source = source_of(_services({"upload": body}).files, job())
    cut_out = b"".join(jsonl.retry_rows(source, offsets, sizes))
    originals = [body[records[index].offset :][: records[index].size] + b"\n" for index in chosen]
    assert cut_out == b"".join(originals)


def _check_split(body_bytes: bytes, entries: list[LedgerEntry]) -> None:
    """Check that each half of a split chunk has its own rows' params and keys."""
    services = _services({"work/r": body_bytes})
    for suffix, entries_half in (
        ("a", entries[: len(entries) // 2]),
        ("b", entries[len(entries) // 2 :]),
    ):
        keys, files, _ = rewrite(services.files, job(), batch(), CHUNK + suffix, 1, entries_half)
        body = b"".join(services.files.read(services.files.results_object(keys.requests)))
        rewritten = list(
            read_ledger(services.files.lines(services.files.results_object(keys.ledger)))
        )
        assert (files.rows, files.size_bytes) == (len(entries_half), len(body))
        for old, new in zip(entries_half, rewritten, strict=True):
            assert (new.row, new.line, new.offset, new.size) == (
                old.row,
                old.line,
                old.offset,
                old.size,
            )
            assert new.rejection == old.rejection
            params = body[new.params_offset :][: new.params_size]
            assert params == body_bytes[old.params_offset :][: old.params_size]


def join(data: bytes) -> None:
    """Check that pieces of any size are joined within S3's limits: each byte once, in order."""
    sizes = [_size(data[start : start + 2]) for start in range(0, len(data) - 1, 2)]
    pieces = [StoredObject(key=str(index), size=size, crc32=0) for index, size in enumerate(sizes)]
    try:
        parts = join_plan(pieces)
    except ValueError:
        assert sum(size // MIN_PART_BYTES + 1 for size in sizes) > MAX_PARTS
        return
    assert all(MIN_PART_BYTES <= part.size <= MAX_PART_BYTES for part in parts[:-1])
    assert all(part.size <= MAX_PART_BYTES for part in parts)
    spans = [span for part in parts for span in part.ranges]
    assert sum(span.size for span in spans) == sum(sizes)
    next_start = {piece.key: 0 for piece in pieces}
    for span in spans:
        assert span.start == next_start[span.key]
        next_start[span.key] += span.size
    assert [int(span.key) for span in spans] == sorted(int(span.key) for span in spans)
    assert [piece for group in groups(pieces) for piece in group] == pieces


def _size(pair: bytes) -> int:
    """Return a size near a limit: the first byte chooses the limit, the second the distance."""
    edge_code, offset_code = pair
    edges = (0, MIN_PART_BYTES, 2 * MIN_PART_BYTES, MAX_PART_BYTES, 2 * MAX_PART_BYTES, 3 << 30)
    return max(0, edges[edge_code % 6] + (offset_code - 128) * (1 << 10 * (edge_code // 6 % 3)))
