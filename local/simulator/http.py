"""What passes between the HTTP server and the endpoints: a call, its body, and a reply."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BufferedIOBase
from typing import Literal

import msgspec

type Framing = Literal["length", "chunked", "close"]

BLOCK_BYTES = 1 << 20


class HangUpError(Exception):
    """The connection ends here, without an answer; ``reset`` makes it an RST."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__("the connection ends without an answer")
        self.reset = reset


class Body:
    """A request's body, read once from the connection.

    Args:
        file: the connection.
        length: Content-Length, in bytes; 0 where there is no body.
        chunked: whether it comes in chunks instead.
    """

    def __init__(self, file: BufferedIOBase, length: int, *, chunked: bool) -> None:
        self._file = file
        self.length = length
        self._blocks = self._chunked_blocks() if chunked else self._sized_blocks()
        self.consumed = length == 0 and not chunked

    def blocks(self) -> Iterator[bytes]:
        """The body in blocks of at most 1 MiB, to its end.

        Raises:
            HangUpError: the connection ended before the body did.
        """
        yield from self._blocks
        self.consumed = True

    def read(self, limit_bytes: int) -> bytes:
        """A small body as a whole; what is longer is cut there."""
        content = b""
        for block in self.blocks():
            content = (content + block)[:limit_bytes]
        return content

    def break_off(self, after_bytes: int) -> None:
        """Read so many bytes, then reset the connection."""
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
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Body


@dataclass(slots=True)
class Reply:
    """One HTTP response.

    Args:
        content: the body, as a whole or as blocks; with blocks, ``framing`` says how they are framed.
        length: bytes that Content-Length promises, where blocks are framed so.
        cut: the connection ends after the last block, whatever was promised.
        delay_s: the reply waits so long.
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
    """A reply of JSON."""
    return Reply(msgspec.json.encode(content), status)
