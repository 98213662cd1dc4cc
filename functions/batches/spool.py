"""Results come in any order: they are kept on disk, with an index of offsets, until their turn."""

from array import array
from typing import IO


class Spool:
    """The results of one batch by row, on disk.

    Args:
        file: where to keep them; empty.
        first_row: the first row of the chunk.
        rows: how many rows the chunk has.
    """

    def __init__(self, file: IO[bytes], first_row: int, rows: int) -> None:
        self._file, self._first = file, first_row
        self._at = array("Q", bytes(8 * rows))
        self._size = array("Q", bytes(8 * rows))
        self._end = 0
        self._away = False  # whether the file stands elsewhere than at its end

    def has(self, row: int) -> bool:
        """Whether there is a result for this row."""
        slot = row - self._first
        return 0 <= slot < len(self._size) and self._size[slot] > 0

    def put(self, row: int, result: bytes) -> None:
        """Keep the result of a row of the chunk.

        Raises:
            IndexError: the row is another chunk's.
        """
        slot = row - self._first
        if not 0 <= slot < len(self._size):
            message = f"row {row} is none of this chunk's"
            raise IndexError(message)
        if self._away:
            self._file.seek(self._end)
            self._away = False
        self._at[slot], self._size[slot] = self._end, len(result)
        self._end += self._file.write(result)

    def get(self, row: int) -> bytes | None:
        """Give a row's result; None if there is none."""
        if not self.has(row):
            return None
        slot = row - self._first
        self._file.seek(self._at[slot])
        self._away = True
        return self._file.read(self._size[slot])

    def rewind(self) -> None:
        """Forget everything, for another download."""
        self._file.seek(0)
        self._file.truncate()
        self._end = 0
        self._away = False
        self._at = array("Q", bytes(8 * len(self._at)))
        self._size = array("Q", bytes(8 * len(self._size)))
