"""The format of an upload, detected from its content once, when planning begins, and stored with the job."""

import msgspec


class UploadFormat(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The format of an upload.

    Attributes:
        reader: the name of its reader in `functions.readers.READERS`: ``jsonl``, ``json``, ``csv`` or ``xlsx``.
        sheet: the sheet of a workbook that the options name; None for the first visible one.
        container: ``gzip``, ``zstd`` or ``bzip2``; None for an upload that is not compressed.
        encoding: the character encoding as Python names it: ``utf-8``, ``utf-16-le``, ``utf-16-be``, ``cp1252``.
        notices: what a person should know, in one sentence each: ``read as cp1252, because it is not UTF-8``.
    """

    reader: str = "jsonl"
    sheet: str | None = None
    container: str | None = None
    encoding: str = "utf-8"
    notices: list[str] = []
