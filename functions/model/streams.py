"""Bytes as they come, in blocks: cut into lines, and into texts of many lines."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO

CACHE_BLOCK = 1 << 18
"""What is looked at several times comes in pieces of this length, which stay near the processor."""


def lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut blocks into lines, without their line feeds; a last line without one counts."""
    held = b""
    for block in blocks:
        *whole, held = (held + block).split(b"\n")
        yield from whole
    if held:
        yield held


def line_blocks(blocks: Iterable[bytes], size: int = CACHE_BLOCK) -> Iterator[bytes]:
    """Cut blocks into texts of whole lines, without the last one's line feed; about this long, if lines are shorter."""
    held: list[bytes] = []
    length = 0
    for block in cut(blocks, size):
        whole, feed, rest = block.rpartition(b"\n")
        if feed and length + len(block) >= size:
            yield b"".join((*held, whole))
            held, length = [rest], len(rest)
        else:
            held.append(block)
            length += len(block)
    text = b"".join(held)
    if text:
        yield text.removesuffix(b"\n")


def cut(blocks: Iterable[bytes], size: int = CACHE_BLOCK) -> Iterator[bytes]:
    """Cut blocks that are longer than this."""
    return (block[at : at + size] for block in blocks for at in range(0, len(block), size))


def blocks_of(file: IO[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """Read a file from where it stands, in blocks."""
    read: Callable[[], bytes] = lambda: file.read(size)  # noqa: E731 - iter wants a callable
    return iter(read, b"")
