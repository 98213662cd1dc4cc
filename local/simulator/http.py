"""The types between HTTP server and endpoints: call, body and reply."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Literal

import msgspec

type Framing = Literal["length", "chunked", "close"]

BLOCK_BYTES = 1 << 20


class HangUpError(Exception):
    """Close the connection without an answer; ``reset`` sends an RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("the connection ends without an answer")
        self.reset = reset


class Body:
    """A request's body, read once from the connection.

    Args:
        file: the connection.
        length: Content-Length in bytes; 0 without a body.
        chunked: whether the transfer encoding is chunked.
    """

    def __init__(self, file: BufferedIOBase, length: int, *, chunked: bool) -> None:
        self._file = file
        self.length = length
        self._blocks = self._chunked_blocks() if chunked else self._sized_blocks()
        self.consumed = length == 0 and not chunked

    def blocks(self) -> Iterator[bytes]:
        """Yield the body in blocks of at most 1 MiB.

        Raises:
            HangUpError: the connection ended before the body did.
        """
        yield from self._blocks
        self.consumed = True

    def read(self, limit_bytes: int) -> bytes:
        """Read a small body; cut it at the limit."""
        content = b""
        for block in self.blocks():
            content = (content + block)[:limit_bytes]
        return content

    def break_off(self, after_bytes: int) -> None:
        """Read this many bytes, then reset the connection."""
        self._file.read(min(after_bytes, self.length or after_bytes))
        raise HangUpError(reset=True)

    def _sized_blocks(self) -> Iterator[bytes]:
        remaining = self.length
        while remaining:
            yield self._read_exactly(min(remaining, BLOCK_BYTES))
            remaining -= min(remaining, BLOCK_BYTES)

    def _chunked_blocks(self) -> Iterator[bytes]:
        while size := self._chunk_size():
            while size:
                yield self._read_exactly(min(size, BLOCK_BYTES))
                size -= min(size, BLOCK_BYTES)
            self._read_exactly(2)  # the line end after each chunk
        while self._file.readline() not in {b"\r\n", b""}:  # trailers
            pass

    def _chunk_size(self) -> int:
        line = self._file.readline()
        try:
            return int(line.split(b";")[0], 16)
        except ValueError:
            raise HangUpError from None

    def _read_exactly(self, count: int) -> bytes:
        block = self._file.read(count)
        if len(block) < count:
            raise HangUpError
        return block


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request; header names are in lower case."""

    method: str
    path: str
    parameters: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: Body

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; of one that is repeated, the last."""
        return dict(self.parameters)


@dataclass(slots=True)
class Reply:
    """One HTTP response.

    Args:
        content: the body, as bytes or as blocks with a ``framing``.
        length: the Content-Length of blocks, for the framing ``length``.
        cut: close the connection after the last block, even before the promised length.
        delay_s: the delay before the reply.
    """

    content: bytes | Iterator[bytes]
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    framing: Framing = "length"
    length: int = 0
    cut: bool = False
    delay_s: float = 0.0


def json_reply(content: object, status: int = 200) -> Reply:
    """Build a JSON reply."""
    return Reply(msgspec.json.encode(content), status)
