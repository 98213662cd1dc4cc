"""A chunk's two files: the request body, ready to be sent, and the ledger that says whose bytes are where.

The body is the API's own: ``{"requests":[{"custom_id":"…","params":{…}},…]}``, `params` byte for byte as they
stood in the upload. The ledger has a line a row of the chunk, in order, rejected rows included.
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
        line: the line it stands on.
        offset: its offset in the upload, in bytes; `size` is its length there.
        custom_id: the user's own, as JSON.
        params_at: where its params begin in the body; `params_size` is their length, 0 if not sent.
        rejection: why it is not sent.
    """

    row: int
    line: int
    offset: int
    size: int
    custom_id: msgspec.Raw
    params_at: int = 0
    params_size: int = 0
    rejection: Rejection | None = None

    @property
    def sent(self) -> bool:
        """Whether it is in the body."""
        return self.params_size > 0


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(LedgerEntry)


def read_ledger(lines: Iterator[bytes]) -> Iterator[LedgerEntry]:
    """Read a ledger, in row order."""
    return map(_decoder.decode, lines)


def read_all(texts: Iterator[bytes]) -> Iterator[LedgerEntry]:
    """Read a ledger that comes in texts of whole lines, in row order: several times as fast."""
    return chain.from_iterable(map(_decoder.decode_lines, texts))


class ChunkKeys(NamedTuple):
    """Where a chunk's two files lie."""

    requests: str
    ledger: str


class ChunkFiles:
    """Writes a chunk's two files, row by row.

    Attributes:
        rows: rows written, rejected ones included.
        requests: rows that are in the body.
        size_bytes: the length of the body, as if it were finished now.
        ledger_bytes: the length of the ledger.
    """

    def __init__(
        self, job: str, chunk: str, attempt: int, body: IO[bytes], ledger: IO[bytes]
    ) -> None:
        self._body, self._ledger = body, ledger
        self._head = b'},{"custom_id":"%b","params":' % custom_id_template(job, chunk, attempt)
        self._written = body.write(HEAD)
        self.rows = self.requests = self.ledger_bytes = 0

    @property
    def size_bytes(self) -> int:
        """The length of the body, finished."""
        return self._written + len(TAIL)

    def added_bytes(self, row: int, params_size: int) -> int:
        """Say how much longer the body gets by a row."""
        return len(self._head % row) + params_size

    def add(self, number: int, record: Record, row: Row) -> None:
        """Write a row of the upload: its request, or why there is none."""
        entry = LedgerEntry(
            number, record.line, record.offset, record.size, row.custom_id, rejection=row.rejection
        )
        self.put(entry, row.params)

    def add_valid(self, first: int, plain: ValidRows) -> None:
        """Write rows that can all be sent, from this number on; byte for byte what `add` would write."""
        rows = range(first, first + len(plain.offsets))
        heads = [self._head % row for row in rows]
        heads[0] = heads[0].removeprefix(b"}" if self.requests else b"},")
        texts: list[bytes | msgspec.Raw] = [b"}"] * (2 * len(heads) + 1)
        texts[:-1:2], texts[1::2] = heads, plain.params
        sizes = [len(params) for params in plain.params]
        ends = accumulate(map(add, map(len, heads), sizes), initial=self._written)
        begins = [end - size for end, size in zip(islice(ends, 1, None), sizes, strict=True)]
        self._written += self._body.write(b"".join(texts))
        lines = range(plain.line, plain.line + len(rows))
        columns = (rows, lines, plain.offsets, plain.sizes, plain.custom_ids, begins, sizes)
        entries = _encoder.encode_lines(list(zip(*columns, repeat(None))))
        self.ledger_bytes += self._ledger.write(entries)
        self.rows += len(rows)
        self.requests += len(rows)

    def put(self, entry: LedgerEntry, params: bytes | None) -> None:
        """Write a row that another chunk's ledger has, with these params or none."""
        if params is not None:
            head = (self._head % entry.row).removeprefix(b"}" if self.requests else b"},")
            at = self._written + len(head)
            self._written += self._body.write(b"".join((head, params, b"}")))
            entry = LedgerEntry(
                entry.row, entry.line, entry.offset, entry.size, entry.custom_id, at, len(params)
            )
            self.requests += 1
        self.ledger_bytes += self._ledger.write(_encoder.encode(entry) + b"\n")
        self.rows += 1

    def finish(self) -> None:
        """Close the body's brackets."""
        self._body.write(TAIL)
        self._body.flush()
        self._ledger.flush()


def envelope_bytes(params_size: int) -> int:
    """Say how much longer a body gets by params of this length, at the most."""
    return params_size + len(b'{"custom_id":"","params":},') + 64
