"""The contract of a reader: what plan, collect and assemble require of a format."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from functions.model.rows import LineBlock, Position, Record


class Source(Protocol):
    """The bytes of an upload. A container such as gzip is a source that unpacks another source."""

    @property
    def uri(self) -> str:
        """Return the upload's address, for error messages."""

    @property
    def size_bytes(self) -> int:
        """Return the length of the object in S3, in bytes."""

    @property
    def seekable(self) -> bool:
        """Return whether reading from the middle is cheap. A compressed source is unpacked from its start."""

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from ``start`` up to ``stop``, in blocks of any size.

        Args:
            start: the first offset, in bytes from 0.
            stop: the offset after the last byte; None for the end of the upload.

        Raises:
            ObjectUnreadableError: S3 refuses the upload, and a retry does not help.
            DownloadError: the download failed too often.
        """


class Reader[P: Position](Protocol):
    """Reads uploads of one format and writes the retry file in the same format.

    To add a format, write a module with these six names and add one line to `READERS`. An instance of a
    class also works. `tests/unit/test_reader_contract.py` checks every reader in `READERS` against this
    contract. Add a few uploads of the new format to its samples.

    Positions:
        A `Position` is a point between two records and is stored in the table as JSON. Only its reader interprets
        it. Reading can resume at any position, so it must hold whatever the rest of the upload does not
        show: a header, a dialect, an encoding. Keep it below 4 KiB. Never rename or remove a field, because
        running jobs hold old positions. A new field needs a default.

    Records:
        `Record.offset` and `Record.size` are stored for each row and are passed back to `retry_rows`. They
        need not be byte positions in the upload, but offsets must rise from row to row.

    Attributes:
        START: the position before the first record. All positions of this reader have its type.
        RETRY_NAME: the name of the retry file, with a suffix in `READERS`: ``retry.jsonl``.
    """

    START: P
    RETRY_NAME: str

    def read(self, source: Source, position: P, row_bytes: int) -> Iterator[LineBlock | Record]:
        """Read the upload from a position on, in order, in memory that does not grow with its size.

        Args:
            source: the upload.
            position: `START`, or the ``end`` of a record that an earlier call yielded.
            row_bytes: the maximum length of a row in bytes. A longer row has ``data=None``.

        Yields:
            A `Record` for each row. A format whose rows are lines of JSON may yield a `LineBlock` in place of
            its records. Plan validates a block several times as fast as single records.

        Raises:
            UnreadableUploadError: the upload is not in this format.
        """

    def columns(self, position: P) -> Sequence[str]:
        """Return the columns of a table, in order; empty for other formats.

        Args:
            position: a position after the first record.
        """

    def retry_head(self, position: P) -> bytes:
        """Return the first bytes of the retry file, such as a CSV header; empty if the format has none.

        Args:
            position: the position where planning of the job ended.
        """

    def retry_rows(
        self, source: Source, offsets: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[bytes]:
        """Stream rows for the retry file, as they are in the upload. Raise errors only during iteration.

        The retry file is the head followed by the rows of each chunk, so these bytes must end where another
        row can begin. The reader of `RETRY_NAME` must read exactly these rows from the file.

        Args:
            source: the upload.
            offsets: `Record.offset` of each row, in order.
            sizes: `Record.size` of each row. One pair may also span several consecutive rows.

        Raises:
            ObjectUnreadableError: the upload cannot be read, or is shorter than when it was planned.
        """
