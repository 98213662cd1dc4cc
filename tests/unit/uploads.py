"""Uploads in memory, as readers get them."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Upload:
    """An upload that is read in blocks of this size."""

    body: bytes
    block: int = 1 << 20
    uri: str = "s3://uploads/in/march"
    seekable: bool = True

    @property
    def size_bytes(self) -> int:
        return len(self.body)

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        body = self.body[start:stop]
        return (body[offset : offset + self.block] for offset in range(0, len(body), self.block))
