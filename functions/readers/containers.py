"""Unpack compressed uploads: gzip, Zstandard and bzip2, with one or more members.

A compressed upload is always read from its start. That costs less than it seems, because unpacking is faster than
planning, and positions need no copy of the decompressor's window.
"""

import bz2
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from functions.errors import UnreadableUploadError
from functions.model.streams import cut
from functions.readers.contract import Source
from functions.readers.derived import DerivedSource

MAX_BLOCK = 1 << 18
"""The most bytes that are unpacked at once, so that a small upload of many zeros does not fill the memory."""
_PACKED_BLOCK = 1 << 14
"""Bytes of the upload that are handled at once. A block may hold hundreds of small members."""
_ZSTD_PIECE = 256
"""Bytes of Zstandard data that are unpacked at once. Its blocks of 128 KiB take at least 4 bytes each."""
_GZIP_WINDOW = zlib.MAX_WBITS | 16
_MAGIC = {
    "gzip": re.compile(rb"\x1f\x8b\x08"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
    "bzip2": re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)"),
}


def container_of(head: bytes) -> str | None:
    """Return the container whose first bytes these are: ``gzip``, ``zstd`` or ``bzip2``; None for any other data.

    Args:
        head: at least the first ten bytes of an upload.
    """
    return next((name for name, magic in _MAGIC.items() if magic.match(head)), None)


def unpacked(source: Source, container: str) -> Source:
    """Return the content of a compressed upload.

    Args:
        source: the upload.
        container: ``gzip``, ``zstd`` or ``bzip2``.

    Returns:
        A source that is not seekable. Its `read` raises UnreadableUploadError if the data is damaged or cut off.
    """
    return DerivedSource(source, lambda: _Unpacking(source, container).blocks())


class _Decompressor(Protocol):
    """Unpacks one member. `bz2.BZ2Decompressor` has this interface."""

    @property
    def eof(self) -> bool:
        """Return whether the member is complete."""

    @property
    def unused_data(self) -> bytes:
        """Return the bytes after a complete member."""

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes:
        """Unpack more data. Return b"" if it needs more data first."""


class _Gzip:
    """A gzip member, with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int = MAX_BLOCK, /) -> bytes:
        return self._member.decompress(self._member.unconsumed_tail + data, max_length)


class _Zstd:
    """A Zstandard frame, with the interface of `bz2.BZ2Decompressor`.

    The library's streams end without an error where a frame is cut off, and its object for one frame has no limit
    of its own. So it gets its data in small pieces.
    """

    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - only such uploads pay for it at a cold start

        self._error = zstandard.ZstdError
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._pending = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data + self._pending

    def decompress(self, data: bytes, max_length: int = MAX_BLOCK, /) -> bytes:
        if data:
            self._pending = memoryview(bytes(self._pending) + data)
        blocks: list[bytes] = []
        size = 0
        while size < max_length and self._pending and not self._frame.eof:
            piece, self._pending = self._pending[:_ZSTD_PIECE], self._pending[_ZSTD_PIECE:]
            try:
                blocks.append(self._frame.decompress(piece))
            except self._error as error:
                raise ValueError(error) from error
            size += len(blocks[-1])
        return b"".join(blocks)


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "zstd": _Zstd,
    "bzip2": bz2.BZ2Decompressor,
}


class _Unpacking:
    """One pass over the members of a container.

    Attributes:
        offset: the bytes of the upload that have been read.
    """

    def __init__(self, source: Source, container: str) -> None:
        self._packed = cut(source.read(), _PACKED_BLOCK)
        self._container = container
        self.offset = self._size = 0

    def blocks(self) -> Iterator[bytes]:
        """Yield the unpacked bytes of all members.

        Raises:
            UnreadableUploadError: the data is damaged or cut off.
        """
        data = self._next_data()
        while data:
            member = _DECOMPRESSORS[self._container]()
            yield from self._member_blocks(member, data)
            data = self._skip_zeros(member.unused_data)

    def _member_blocks(self, member: _Decompressor, data: bytes) -> Iterator[bytes]:
        while not member.eof:
            block = self._decompress(member, data)
            self._size += len(block)
            data = b""
            if block:
                yield block
            elif not member.eof:
                data = self._next_data()
                if not data:
                    raise UnreadableUploadError(self._problem("ends too early"))

    def _decompress(self, member: _Decompressor, data: bytes) -> bytes:
        try:
            return member.decompress(data, MAX_BLOCK)
        except (zlib.error, OSError, ValueError, EOFError) as error:
            problem = self._problem(f"is damaged ({error})")
            raise UnreadableUploadError(problem) from error

    def _problem(self, problem: str) -> str:
        return (
            f"the {self._container} data of the upload {problem} before its byte {self.offset:,}, after "
            f"{self._size:,} unpacked bytes; compress and upload it again"
        )

    def _skip_zeros(self, data: bytes) -> bytes:
        """Skip zeros after a member, because tapes and block devices pad files with them."""
        while not (data := data.lstrip(b"\0")):
            data = self._next_data()
            if not data:
                break
        return data

    def _next_data(self) -> bytes:
        data = next(self._packed, b"")
        self.offset += len(data)
        return data
