"""Results come in any order: they are kept on disk, with an index of offsets, until their turn."""

import os
from array import array
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import IO

from functions.batches.errors import NoRoomError

AWAY = 0xFFFF_FFFF_FFFF_FFFF
"""The offset of a result that is known and not on disk."""


class Spool:
    """The results of one batch by row, on disk; where they are too long for that, those of some rows at a time.

    Args:
        file: where to keep them; empty, and unbuffered.
        first_row: the first row of the chunk.
        rows: how many rows the chunk has.
        most: how many bytes the file may have.
    """

    def __init__(self, file: IO[bytes], first_row: int, rows: int, most: int = AWAY) -> None:
        self._file, self._first, self._most = file, first_row, most
        self._at = array("Q", bytes(8 * rows))
        self._size = array("Q", bytes(8 * rows))
        self._end = 0
        self._window = range(first_row, first_row + rows)

    def has(self, row: int) -> bool:
        """Whether there is a result for this row, on disk or not."""
        slot = row - self._first
        return 0 <= slot < len(self._size) and self._size[slot] > 0

    @property
    def whole(self) -> bool:
        """Whether all that came is on disk."""
        return sum(self._size) == self._end

    def put(self, row: int, result: bytes) -> None:
        """Keep the result of a row of the chunk.

        Raises:
            IndexError: the row is another chunk's.
        """
        if not 0 <= row - self._first < len(self._size):
            message = f"row {row} is none of this chunk's"
            raise IndexError(message)
        self.put_all([row], [result])

    def put_all(self, rows: Sequence[int], results: Sequence[bytes | memoryview]) -> None:
        """Keep the results of rows that are all the chunk's; what does not fit is only measured."""
        sizes = [len(result) for result in results]
        ends = [*accumulate(sizes, initial=self._end)]
        fits = ends[-1] <= self._most
        if fits:
            self._file.write(b"".join(results))
            self._file.flush()
            self._end = ends[-1]
        first, at, size = self._first, self._at, self._size
        for row, begin, length in zip(rows, ends, sizes, strict=False):
            slot = row - first
            at[slot] = begin if fits else AWAY
            size[slot] = length

    def get(self, row: int) -> bytes | None:
        """Give a row's result; None if there is none on disk."""
        slot = row - self._first
        if not 0 <= slot < len(self._size):
            return None
        size, at = self._size[slot], self._at[slot]
        return os.pread(self._descriptor, size, at) if size and at != AWAY else None

    @cached_property
    def _descriptor(self) -> int:
        return self._file.fileno()

    def windows(self) -> list[range]:
        """Cut the chunk into runs of rows whose results fit on disk together; one, nearly always.

        Raises:
            NoRoomError: a single one does not.
        """
        if self.whole:
            return [self._window]
        edges, held = [self._first], 0
        for row, size in enumerate(self._size, self._first):
            if size > self._most:
                raise NoRoomError(row, size, self._most)
            if held + size > self._most:
                edges.append(row)
                held = 0
            held += size
        edges.append(self._first + len(self._size))
        return [range(low, high) for low, high in pairwise(edges)]

    def turn(self, window: range) -> None:
        """Forget what is on disk, to make room for the rows of another window."""
        self._file.seek(0)
        self._file.truncate()
        self._end, self._window = 0, window
        self._at = array("Q", [AWAY]) * len(self._at)

    def put_again(self, row: int, result: bytes) -> None:
        """Keep a result that was only measured, if it is one of the window's and as long as it was."""
        slot = row - self._first
        known = row in self._window and self._size[slot] == len(result)
        if known and self._at[slot] == AWAY:
            self._at[slot] = self._end
            self._end += self._file.write(result)
            self._file.flush()

    def lacking(self) -> int:
        """Count the rows of the window whose result is known and not on disk."""
        slots = range(self._window.start - self._first, self._window.stop - self._first)
        return sum(self._size[slot] > 0 and self._at[slot] == AWAY for slot in slots)
