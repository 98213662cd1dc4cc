"""A chunk's two files: the request body, ready to send, and the ledger, which locates each row.

The body is the API's own: ``{"requests":[{"custom_id":"…","params":{…}},…]}``. Its `params` are those of the
upload, byte for byte. The ledger has one line for each row of the chunk, in order, rejected rows included.
"""

from collections.abc import Iterator
from itertools import accumulate, chain, islice, repeat
from operator import add
from typing import IO, NamedTuple

import msgspec

from functions.model.ids import custom_id_template
from functions.model.rows import Record, Rejection, Row, ValidRows

HEAD, TAIL = b'{"requests":[', b"]}"


class LedgerEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row of a chunk.

    Attributes:
        row: its number in the upload, from 1.
        line: its line in the upload, from 1.
        offset: its offset in the upload, in bytes.
        size: its length in the upload, in bytes.
        custom_id: the user's custom_id, as JSON.
        params_at: the offset of its params in the body, in bytes.
        params_size: the length of its params in bytes; 0 if the row is not sent.
        rejection: why the row is not sent; None if it is.
        copy_of: an earlier row of the chunk, with equal params, whose request answers this row, too; 0 for none.
        cross_chunk_copy_of: such a row of an earlier chunk. Its result is copied once that chunk is collected; 0 for none.
    """

    row: int
    line: int
    offset: int
    size: int
    custom_id: msgspec.Raw
    params_offset: int = 0
    params_size: int = 0
    rejection: Rejection | None = None
    copy_of: int = 0
    cross_chunk_copy_of: int = 0

    @property
    def sent(self) -> bool:
        """Whether the row is in the body."""
        return self.params_size > 0

    @property
    def is_asked(self) -> bool:
        """Whether a request in the body answers the row: its own, or that of an equal row of the chunk."""
        return self.sent or self.copy_of > 0

    @property
    def request_row(self) -> int:
        """The row whose request in the body answers this one."""
        return self.copy_of or self.row

    def without_request(self) -> "LedgerEntry":
        """Return the entry for a body that does not have its request."""
        return LedgerEntry(
            self.row,
            self.line,
            self.offset,
            self.size,
            self.custom_id,
            rejection=self.rejection,
            cross_chunk_copy_of=self.cross_chunk_copy_of,
        )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LedgerEntry)


def read_ledger(lines: Iterator[bytes]) -> Iterator[LedgerEntry]:
    """Read the lines of a ledger, in row order."""
    return map(_decoder.decode, lines)


def read_all(blocks: Iterator[bytes]) -> Iterator[LedgerEntry]:
    """Read a ledger from blocks of whole lines, in row order. This is several times as fast as `read_ledger`."""
    return chain.from_iterable(map(_decoder.decode_lines, blocks))


class ChunkKeys(NamedTuple):
    """The S3 keys of a chunk's two files."""

    requests: str
    ledger: str


class ChunkWriter:
    """Writes a chunk's two files, row by row.

    Attributes:
        rows: the rows written, rejected ones included.
        requests: the rows in the body.
        copies: the rows that share the request of an earlier row of the chunk.
        cross_chunk_copies: the rows that share the request of a row in an earlier chunk.
        size_bytes: the length of the body if it were finished now.
        ledger_bytes: the length of the ledger.
    """

    def __init__(
        self, job: str, chunk: str, attempt: int, body: IO[bytes], ledger: IO[bytes]
    ) -> None:
        self._body, self._ledger = body, ledger
        self._head = b'},{"custom_id":"%b","params":' % custom_id_template(job, chunk, attempt)
        self._written = body.write(HEAD)
        self.rows = self.requests = self.copies = self.cross_chunk_copies = self.ledger_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The length of the finished body, in bytes."""
        return self._written + len(TAIL)

    def added_bytes(self, row: int, params_size: int) -> int:
        """Return how many bytes a row adds to the body."""
        return len(self._head % row) + params_size

    def add(
        self, number: int, record: Record, row: Row, copy_of: int = 0, cross_chunk_copy_of: int = 0
    ) -> None:
        """Write a row of the upload: its request, or why it has none, or the row whose request it shares."""
        entry = LedgerEntry(
            number,
            record.line,
            record.offset,
            record.size,
            row.custom_id,
            rejection=row.rejection,
            copy_of=copy_of,
            cross_chunk_copy_of=cross_chunk_copy_of,
        )
        self.put(entry, None if copy_of or cross_chunk_copy_of else row.params)

    def add_valid(self, first: int, valid: ValidRows) -> None:
        """Write consecutive valid rows, numbered from `first`. The bytes equal those that `add` writes."""
        rows = range(first, first + len(valid.offsets))
        heads = [self._head % row for row in rows]
        heads[0] = heads[0].removeprefix(b"}" if self.requests else b"},")
        fragments: list[bytes | msgspec.Raw] = [b"}"] * (2 * len(heads) + 1)
        fragments[:-1:2], fragments[1::2] = heads, valid.params
        sizes = [len(params) for params in valid.params]
        ends = accumulate(map(add, map(len, heads), sizes), initial=self._written)
        begins = [end - size for end, size in zip(islice(ends, 1, None), sizes, strict=True)]
        self._written += self._body.write(b"".join(fragments))
        lines = range(valid.line, valid.line + len(rows))
        columns = (rows, lines, valid.offsets, valid.sizes, valid.custom_ids, begins, sizes)
        entries = _encoder.encode_lines(list(zip(*columns, repeat(None), repeat(0), repeat(0))))
        self.ledger_bytes += self._ledger.write(entries)
        self.rows += len(rows)
        self.requests += len(rows)

    def put(self, entry: LedgerEntry, params: bytes | None) -> None:
        """Write an entry of another ledger, with these params; None for a row that is not sent itself."""
        if params is None:
            entry = msgspec.structs.replace(entry, params_offset=0, params_size=0)
            self.copies += entry.copy_of > 0
            self.cross_chunk_copies += entry.cross_chunk_copy_of > 0
        else:
            head = (self._head % entry.row).removeprefix(b"}" if self.requests else b"},")
            params_offset = self._written + len(head)
            self._written += self._body.write(b"".join((head, params, b"}")))
            entry = LedgerEntry(
                entry.row,
                entry.line,
                entry.offset,
                entry.size,
                entry.custom_id,
                params_offset,
                len(params),
            )
            self.requests += 1
        self.ledger_bytes += self._ledger.write(_encoder.encode(entry) + b"\n")
        self.rows += 1

    def finish(self) -> None:
        """Close the body's JSON and flush both files."""
        self._body.write(TAIL)
        self._body.flush()
        self._ledger.flush()


def max_request_bytes(params_size: int) -> int:
    """Return an upper bound of the bytes that params of this length add to a body."""
    return params_size + len(b'{"custom_id":"","params":},') + 64
