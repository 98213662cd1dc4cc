"""A source that is computed from another one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from functions.readers.contract import Source


@dataclass(frozen=True)
class DerivedSource:
    """The bytes that a function computes from a whole upload. Every read starts at its first byte.

    Attributes:
        source: the upload.
        blocks: the function. It reads the source and yields blocks.
    """

    source: Source
    blocks: Callable[[], Iterator[bytes]]

    @property
    def uri(self) -> str:
        """Return the upload's address."""
        return self.source.uri

    @property
    def size_bytes(self) -> int:
        """Return the length of the object in S3, in bytes."""
        return self.source.size_bytes

    @property
    def seekable(self) -> bool:
        """Return False: a position in the middle is reached by reading up to it."""
        return False

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the computed bytes from ``start`` up to ``stop``."""
        offset = 0
        for block in self.blocks():
            wanted = block[max(0, start - offset) : None if stop is None else stop - offset]
            offset += len(block)
            if wanted:
                yield wanted
            if stop is not None and offset >= stop:
                break
