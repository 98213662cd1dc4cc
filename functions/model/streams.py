"""Cutting a stream of byte blocks into lines, or into blocks of whole lines."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO

CACHE_BLOCK = 1 << 18
"""Bytes of a block that is read several times: small enough for the processor's cache."""
_READ_BYTES = 1 << 20


def lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of the blocks, without line feeds. A last line without a line feed counts."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
    if rest:
        yield rest


def line_blocks(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of whole lines, without the last line feed; about `CACHE_BLOCK` bytes unless a line is longer."""
    pending: list[bytes] = []
    length = 0
    for block in cut(blocks):
        whole, feed, rest = block.rpartition(b"\n")
        if feed and length + len(block) >= CACHE_BLOCK:
            yield b"".join((*pending, whole))
            pending, length = [rest], len(rest)
        else:
            pending.append(block)
            length += len(block)
    text = b"".join(pending)
    if text:
        yield text.removesuffix(b"\n")


def cut(blocks: Iterable[bytes], size: int = CACHE_BLOCK) -> Iterator[bytes]:
    """Yield the blocks, cut to at most `size` bytes."""
    return (
        block[offset : offset + size] for block in blocks for offset in range(0, len(block), size)
    )


def read_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Read a file from its current position, in blocks."""
    read: Callable[[], bytes] = lambda: file.read(_READ_BYTES)  # noqa: E731 - iter wants a callable
    return iter(read, b"")
