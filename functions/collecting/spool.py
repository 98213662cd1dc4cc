"""Keep results on disk with an index of offsets, because they arrive in any order."""

import os
from array import array
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from typing import IO

from functions.errors import DiskFullError

NOT_ON_DISK = 0xFFFF_FFFF_FFFF_FFFF
"""Offset of a result whose size is known but that is not on disk."""


class Spool:
    """The results of one batch on disk, by row; if they do not all fit, one window of rows.

    Args:
        file: an empty file for the results.
        first_row: the first row of the chunk.
        rows: the number of rows of the chunk.
        max_bytes: the maximum size of the file.

    Attributes:
        whole: True if every result that arrived is on disk.
    """

    def __init__(
        self, file: IO[bytes], first_row: int, rows: int, max_bytes: int = NOT_ON_DISK
    ) -> None:
        self._file, self._first, self._max_bytes = file, first_row, max_bytes
        self._offsets = array("Q", bytes(8 * rows))
        self._sizes = array("Q", bytes(8 * rows))
        self._end = 0
        self.whole = True
        self._window = range(first_row, first_row + rows)

    def put_all(self, rows: Sequence[int], text: bytes, sizes: Sequence[int]) -> None:
        """Store the results of rows of the chunk. If they do not fit, record only their sizes.

        Args:
            rows: the row of each result.
            text: the results, separated by one byte.
            sizes: the size of each result in bytes.
        """
        fits = self._end + len(text) <= self._max_bytes
        new_offsets = accumulate((size + 1 for size in sizes), initial=self._end)
        first, offsets, known_sizes = self._first, self._offsets, self._sizes
        for row, offset, size in zip(rows, new_offsets, sizes, strict=False):
            slot = row - first
            offsets[slot] = offset if fits else NOT_ON_DISK
            known_sizes[slot] = size
        if fits:
            self._end += self._file.write(text)
            self._file.flush()
        else:
            self.whole = False

    def has_room(self, size: int) -> bool:
        """Return whether this many more bytes fit on the disk."""
        return self._end + size <= self._max_bytes

    def share(self, row: int, of_row: int) -> None:
        """Use the result of another row for this one, too."""
        slot, of_slot = row - self._first, of_row - self._first
        self._offsets[slot], self._sizes[slot] = self._offsets[of_slot], self._sizes[of_slot]

    def size(self, row: int) -> int:
        """Return the size in bytes of the result of a row; 0 if it has none."""
        return self._sizes[row - self._first]

    def get_all(self, row: int, count: int) -> list[bytes | None]:
        """Return the results of `count` rows from `row` on; None for each that is not on disk."""
        slots = slice(row - self._first, row - self._first + count)
        descriptor, pread = self._descriptor, os.pread
        return [
            pread(descriptor, size, offset) if size and offset != NOT_ON_DISK else None
            for size, offset in zip(self._sizes[slots], self._offsets[slots], strict=True)
        ]

    @cached_property
    def _descriptor(self) -> int:
        return self._file.fileno()

    def windows(self) -> list[range]:
        """Split the chunk into ranges of rows whose results fit on disk together; usually one.

        Raises:
            DiskFullError: a single result does not fit.
        """
        if self.whole:
            return [self._window]
        edges, window_size = [self._first], 0
        for row, size in enumerate(self._sizes, self._first):
            if size > self._max_bytes:
                raise DiskFullError(row, size, self._max_bytes)
            if window_size + size > self._max_bytes:
                edges.append(row)
                window_size = 0
            window_size += size
        edges.append(self._first + len(self._sizes))
        return [range(low, high) for low, high in pairwise(edges)]

    def reset_window(self, window: range) -> None:
        """Empty the file, and accept the results of the rows in `window`."""
        self._file.seek(0)
        self._file.truncate()
        self._end, self._window = 0, window
        self._offsets = array("Q", [NOT_ON_DISK]) * len(self._offsets)

    def put_missing(self, row: int, result: bytes) -> None:
        """Store a result of the window that is not on disk, if its size is as first recorded."""
        slot = row - self._first
        expected = row in self._window and self._sizes[slot] == len(result)
        if expected and self._offsets[slot] == NOT_ON_DISK:
            self._offsets[slot] = self._end
            self._end += self._file.write(result)
            self._file.flush()

    def missing(self) -> int:
        """Return the number of rows of the window that have a result but not on disk."""
        slots = range(self._window.start - self._first, self._window.stop - self._first)
        return sum(self._sizes[slot] > 0 and self._offsets[slot] == NOT_ON_DISK for slot in slots)
