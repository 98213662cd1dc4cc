"""The way of the rows without its stages, quick enough for millions: upload, chunk's files, results, lines, retry."""

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
from functions.model.items import StoredObject
from functions.model.multipart_plan import MAX_PART, MAX_PARTS, MIN_PART, groups, join_plan
from functions.model.output_lines import output_line
from functions.model.rows import LinePosition, Record
from functions.model.streams import lines
from functions.model.synthetic_results import rejected_result
from functions.readers import jsonl
from functions.services import Services
from tests.fakes.s3 import RESULTS, S3, UPLOADS
from tests.unit.factories import batch, job
from tests.verification.fuzz import oracle
from tests.verification.fuzz.dials import dials
from tests.verification.fuzz.jobs import spoiled
from tests.verification.fuzz.uploads import write

CHUNK, ROW_BYTES = "00001", 400
MISSING = b'{"type":"errored"}'
JOB = batch().job


def rows(data: bytes) -> None:
    """Four dials: the blocks' size, where a chunk begins, results' fates, how much of the bytes is hostile."""
    (size, first, fates, cut), rest = dials(data, 4)
    hostile, body = rest[: cut % 48], rest[cut % 48 :]
    written, ledger, expected = io.BytesIO(), io.BytesIO(), oracle.spots(body)
    files = ChunkWriter(JOB, CHUNK, 1, written, ledger)
    records = list(jsonl.records(_blocks(body, size + 1), LinePosition(), ROW_BYTES))
    pieces = jsonl.pieces(_blocks(body, size + 1), LinePosition(), ROW_BYTES)
    write(files, pieces, first, ROW_BYTES)
    files.finish()
    entries = list(read_ledger(iter(ledger.getvalue().split(b"\n")[:-1])))
    wishes = rest[: fates % 32]
    stream = b"\n".join(spoiled(_sent(entries), wishes, hostile))
    with tempfile.TemporaryFile() as disk:
        spool = Spool(disk, first + 1, len(entries))
        _keep(spool, _blocks(stream, size + 1), entries)
        told = [output_line(one.row, one.custom_id, _result(one, spool)) for one in entries]

    assert len(told) == len(expected), "rows out = rows in"
    for at, (spot, line) in enumerate(zip(expected, told, strict=True)):
        custom_id, params = oracle.request_of(spot.data, ROW_BYTES)
        if custom_id is None:
            custom_id = bytes(entries[at].custom_id)
            assert oracle.can_be_the_id(custom_id, spot.data)
        assert line.startswith(b'{"row":%d,"custom_id":%b,"result":' % (first + 1 + at, custom_id))
        begin = entries[at].params_offset
        read_rows = written.getvalue()[begin : begin + entries[at].params_size]
        assert (read_rows or None) == params
        assert entries[at].line == spot.line
    _can_be_cut_out(body, records, entries, fates)
    _split(written.getvalue(), entries)


def _blocks(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def _sent(entries: list[LedgerEntry]) -> list[bytes]:
    return [str(RequestId(JOB, CHUNK, 1, one.row)).encode() for one in entries if one.sent]


def _keep(spool: Spool, stream: Iterator[bytes], entries: list[LedgerEntry]) -> None:
    """Keep what is a result of a row that was sent: the first of each."""
    sent = {one.row for one in entries if one.sent}
    for line in lines(stream):
        try:
            parsed = read_line(line)
            read_result(parsed.result)
        except msgspec.DecodeError:
            continue
        whose = RequestId.parse(parsed.custom_id)
        if whose and whose.job == JOB and whose.row in sent and not spool.size(whose.row):
            result = bytes(parsed.result)
            spool.put_all([whose.row], result, [len(result)])


def _result(entry: LedgerEntry, spool: Spool) -> bytes:
    if entry.rejection is not None:
        return rejected_result(entry.rejection)
    return spool.get_all(entry.row, 1)[0] or MISSING


def _services(files: dict[str, bytes]) -> Services[Any]:
    s3: Any = S3()
    for key, body in files.items():
        s3.hold(RESULTS, key, body)
    s3.hold(UPLOADS, "in/march.jsonl", files.get("upload", b""), "v1")
    nothing: Any = None
    return Services(nothing, nothing, ObjectStore(RESULTS, client=s3, threads=1), nothing, nothing)


def _can_be_cut_out(
    body: bytes, records: list[Record], entries: list[LedgerEntry], wanted: int
) -> None:
    """Any rows of the upload can be had again for a retry, as they stood there."""
    chosen = [at for at in range(len(entries)) if wanted >> at % 8 & 1]
    begins, sizes = [entries[at].offset for at in chosen], [entries[at].size for at in chosen]
    source = source_of(_services({"upload": body}).files, job())
    cut = b"".join(jsonl.retry_rows(source, begins, sizes))
    there = [body[records[at].offset :][: records[at].size] + b"\n" for at in chosen]
    assert cut == b"".join(there)


def _split(written: bytes, entries: list[LedgerEntry]) -> None:
    """Each half of a refused chunk has its rows' params and its own names."""
    services = _services({"work/r": written})
    for letter, half in (
        ("a", entries[: len(entries) // 2]),
        ("b", entries[len(entries) // 2 :]),
    ):
        keys, files = rewrite(services.files, batch(), CHUNK + letter, 1, half)
        body = b"".join(services.files.read(services.files.results_object(keys.requests)))
        again = list(read_ledger(services.files.lines(services.files.results_object(keys.ledger))))
        assert (files.rows, files.size_bytes) == (len(half), len(body))
        for old, new in zip(half, again, strict=True):
            assert (new.row, new.line, new.offset, new.size) == (
                old.row,
                old.line,
                old.offset,
                old.size,
            )
            assert new.rejection == old.rejection
            params = body[new.params_offset :][: new.params_size]
            assert params == written[old.params_offset :][: old.params_size]


def join(data: bytes) -> None:
    """Pieces of any size are joined by S3's rules: each byte once, in order."""
    sizes = [_size(data[at : at + 2]) for at in range(0, len(data) - 1, 2)]
    pieces = [StoredObject(key=str(at), size=size, crc32=0) for at, size in enumerate(sizes)]
    try:
        parts = join_plan(pieces)
    except ValueError:
        assert sum(size // MIN_PART + 1 for size in sizes) > MAX_PARTS
        return
    assert all(MIN_PART <= part.size <= MAX_PART for part in parts[:-1])
    assert all(part.size <= MAX_PART for part in parts)
    spans = [span for part in parts for span in part.ranges]
    assert sum(span.size for span in spans) == sum(sizes)
    at = {piece.key: 0 for piece in pieces}
    for span in spans:
        assert span.start == at[span.key]
        at[span.key] += span.size
    assert [int(span.key) for span in spans] == sorted(int(span.key) for span in spans)
    assert [piece for group in groups(pieces) for piece in group] == pieces


def _size(two: bytes) -> int:
    """Give a size near where a rule changes: two bytes, of which the first says how large."""
    large, small = two
    edges = (0, MIN_PART, 2 * MIN_PART, MAX_PART, 2 * MAX_PART, 3 << 30)
    return max(0, edges[large % 6] + (small - 128) * (1 << 10 * (large // 6 % 3)))
