"""The contract of a reader: what plan, collect and assemble ask of a format."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from functions.model.rows import LineBlock, Position, Record


class Source(Protocol):
    """The bytes of an upload; a container such as gzip is a source of the unpacked bytes over another source."""

    @property
    def uri(self) -> str:
        """The upload's address, for error messages."""

    @property
    def size_bytes(self) -> int:
        """The length of the upload in bytes."""

    def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Stream the bytes from ``start`` to ``stop``, in blocks of any size; to the end without ``stop``.

        Raises:
            ObjectUnreadableError: S3 refuses the upload until somebody changes something.
            DownloadError: the download broke off too often.
        """


class Reader[P: Position](Protocol):
    """Reads uploads of one format, and writes the retry file of the same format.

    To add a format, write a module with these four names and add one line to `READERS`. An instance of a
    class does as well. `tests/unit/test_reader_contract.py` holds every reader in `READERS` to this page;
    give it a few uploads of the new format.

    Positions. A `Position` is stored in the table between two records, as JSON. Only its reader knows what
    it holds, and any record can follow: whatever the rest of the upload cannot tell (a header, a dialect, an
    encoding) must be a field of it. Keep it below a few kilobytes. Fields may be added later, with a
    default, but never renamed or removed: jobs that are running hold old ones.

    Records. `Record.offset` and `Record.size` are stored for each row, and come back in `retry_rows`. They
    need not be bytes of the upload; rows that follow one another have rising offsets.

    Attributes:
        START: the position before the first record. Its type is that of all positions of this reader.
        RETRY_NAME: the name of the retry file, with a suffix in `READERS`: ``retry.jsonl``.
    """

    START: P
    RETRY_NAME: str

    def read(self, source: Source, position: P, row_bytes: int) -> Iterator[LineBlock | Record]:
        """Read the upload from a position on, in order, in memory that does not grow with it.

        Args:
            source: the upload.
            position: `START`, or the ``end`` of a record that an earlier call yielded.
            row_bytes: the length up to which a row's bytes are yielded. A longer row has ``data=None``.

        Yields:
            A `Record` for each row. A format whose rows are lines of JSON may yield a `LineBlock` in place of
            its records: plan checks the lines together, which is several times as fast.

        Raises:
            UnreadableUploadError: the upload is not of this format at all.
        """

    def retry_head(self, position: P) -> bytes:
        """Return what the retry file begins with, such as a CSV header; empty where nothing does.

        Args:
            position: where planning of the job ended.
        """

    def retry_rows(
        self, source: Source, offsets: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[bytes]:
        """Stream rows for the retry file, as they are in the upload; raise only while being iterated.

        The retry file is the head and then the rows of one chunk after those of another, so these bytes must
        end where another row can begin. Read with the reader of `RETRY_NAME`, the file yields exactly these
        rows.

        Args:
            source: the upload.
            offsets: `Record.offset` of each row, in order.
            sizes: `Record.size` of each row. One pair may also span rows that follow one another.

        Raises:
            ObjectUnreadableError: the upload cannot be read, or is shorter than it was.
        """
