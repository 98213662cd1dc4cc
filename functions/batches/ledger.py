"""A chunk's two files: the request body, ready to be sent, and the ledger that says whose bytes are where.

The body is the API's own: ``{"requests":[{"custom_id":"…","params":{…}},…]}``, `params` byte for byte as they
stood in the upload. The ledger has a line a row of the chunk, in order, rejected rows included.
"""

from collections.abc import Iterator
from typing import IO, NamedTuple

import msgspec

from functions.batches.readers.record import Record
from functions.batches.requests import Rejection, Row
from functions.batches.wire import WireId

HEAD, COMMA, TAIL = b'{"requests":[', b",", b"]}"


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One row of a chunk.

    Attributes:
        row: its number in the upload, from 1.
        line: the line it stands on.
        at: its offset in the upload, in bytes; `size` is its length there.
        custom_id: the user's own, as JSON.
        params_at: where its params begin in the body; `params_size` is their length, 0 if not sent.
        rejection: why it is not sent.
    """

    row: int
    line: int
    at: int
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
_decoder = msgspec.json.Decoder(Entry)


def read_ledger(lines: Iterator[bytes]) -> Iterator[Entry]:
    """Read a ledger, in row order."""
    return map(_decoder.decode, lines)


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
    """

    def __init__(
        self, job: str, chunk: str, attempt: int, body: IO[bytes], ledger: IO[bytes]
    ) -> None:
        self._names = (job, chunk, attempt)
        self._body, self._ledger = body, ledger
        self._written = body.write(HEAD)
        self.rows = self.requests = 0

    @property
    def size_bytes(self) -> int:
        """The length of the body, finished."""
        return self._written + len(TAIL)

    def add(self, number: int, record: Record, row: Row) -> None:
        """Write a row of the upload: its request, or why there is none."""
        entry = Entry(
            number, record.line, record.at, record.size, row.custom_id, rejection=row.rejection
        )
        self.put(entry, row.params)

    def put(self, entry: Entry, params: bytes | None) -> None:
        """Write a row that another chunk's ledger has, with these params or none."""
        if params is not None:
            opening = (
                b'{"custom_id":"%b","params":' % str(WireId(*self._names, entry.row)).encode()
            )
            head = COMMA + opening if self.requests else opening
            at = self._written + len(head)
            self._written += self._body.write(b"".join((head, params, b"}")))
            entry = Entry(
                entry.row, entry.line, entry.at, entry.size, entry.custom_id, at, len(params)
            )
            self.requests += 1
        self._ledger.write(_encoder.encode(entry) + b"\n")
        self.rows += 1

    def finish(self) -> None:
        """Close the body's brackets."""
        self._body.write(TAIL)
        self._body.flush()
        self._ledger.flush()


def envelope_bytes(params_size: int) -> int:
    """Say how much longer a body gets by params of this length, at the most."""
    return params_size + len(b'{"custom_id":"","params":},') + 64
