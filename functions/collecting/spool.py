"""Results come in any order: they are kept on disk, with an index of offsets, until their turn."""

import os
from array import array
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import IO

from functions.errors import DiskFullError

NOT_ON_DISK = 0xFFFF_FFFF_FFFF_FFFF
"""The offset of a result that is known and not on disk."""


class Spool:
    """The results of one batch by row, on disk; where they are too long for that, those of some rows at a time.

    Args:
        file: where to keep them, empty.
        first_row: the first row of the chunk.
        rows: how many rows the chunk has.
        most: how many bytes the file may have.

    Attributes:
        whole: whether all that came is on disk.
    """

    def __init__(
        self, file: IO[bytes], first_row: int, rows: int, most: int = NOT_ON_DISK
    ) -> None:
        self._file, self._first, self._most = file, first_row, most
        self._at = array("Q", bytes(8 * rows))
        self._size = array("Q", bytes(8 * rows))
        self._end = 0
        self.whole = True
        self._window = range(first_row, first_row + rows)

    def put_all(self, rows: Sequence[int], text: bytes, sizes: Sequence[int]) -> None:
        """Keep the results of rows that are all the chunk's; what does not fit is only measured.

        Args:
            rows: whose they are.
            text: the results, with a byte between one and the next.
            sizes: how long each is.
        """
        fits = self._end + len(text) <= self._most
        begins = accumulate((size + 1 for size in sizes), initial=self._end)
        first, at, known = self._first, self._at, self._size
        for row, begin, size in zip(rows, begins, sizes, strict=False):
            slot = row - first
            at[slot] = begin if fits else NOT_ON_DISK
            known[slot] = size
        if fits:
            self._end += self._file.write(text)
            self._file.flush()
        else:
            self.whole = False

    def size(self, row: int) -> int:
        """Say how long the result of a row of the chunk is; 0 where there is none."""
        return self._size[row - self._first]

    def get_all(self, row: int, count: int) -> list[bytes | None]:
        """Give the results of so many rows of the chunk from this one on; None where there is none on disk."""
        slots = slice(row - self._first, row - self._first + count)
        file, pread = self._descriptor, os.pread
        return [
            pread(file, size, at) if size and at != NOT_ON_DISK else None
            for size, at in zip(self._size[slots], self._at[slots], strict=True)
        ]

    @cached_property
    def _descriptor(self) -> int:
        return self._file.fileno()

    def windows(self) -> list[range]:
        """Cut the chunk into runs of rows whose results fit on disk together; one, nearly always.

        Raises:
            DiskFullError: a single one does not.
        """
        if self.whole:
            return [self._window]
        edges, held = [self._first], 0
        for row, size in enumerate(self._size, self._first):
            if size > self._most:
                raise DiskFullError(row, size, self._most)
            if held + size > self._most:
                edges.append(row)
                held = 0
            held += size
        edges.append(self._first + len(self._size))
        return [range(low, high) for low, high in pairwise(edges)]

    def reset_window(self, window: range) -> None:
        """Forget what is on disk, to make room for the rows of another window."""
        self._file.seek(0)
        self._file.truncate()
        self._end, self._window = 0, window
        self._at = array("Q", [NOT_ON_DISK]) * len(self._at)

    def put_missing(self, row: int, result: bytes) -> None:
        """Keep a result that was only measured, if it is one of the window's and as long as it was."""
        slot = row - self._first
        known = row in self._window and self._size[slot] == len(result)
        if known and self._at[slot] == NOT_ON_DISK:
            self._at[slot] = self._end
            self._end += self._file.write(result)
            self._file.flush()

    def missing(self) -> int:
        """Count the rows of the window whose result is known and not on disk."""
        slots = range(self._window.start - self._first, self._window.stop - self._first)
        return sum(self._size[slot] > 0 and self._at[slot] == NOT_ON_DISK for slot in slots)
