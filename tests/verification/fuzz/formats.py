"""Fuzz targets for the readers of other formats: any bytes are rows, rejected rows, or one refusal."""

import bz2
import gzip
from collections.abc import Callable

import zstandard

from functions.errors import UnreadableUploadError
from functions.readers import SUFFIXES
from functions.readers.encodings import encoding_of
from tests.unit.parquet_files import parquet_of
from tests.unit.uploads import Upload
from tests.unit.workbooks import Cell, workbook
from tests.verification.fuzz.leading_bytes import take_bytes
from tests.verification.fuzz.reading import check_reading, read_upload

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16-le", "utf-16-be", "utf-16", "cp1252")
_NAMES = {"utf-8-sig": "utf-8", "utf-16": "utf-16-le"}
"""Names of encodings whose byte order mark Python writes itself."""
_LONG_ROW = 1 << 20


def _row_bytes(code: int) -> int:
    return _LONG_ROW if code < 200 else code - 190


def upload(data: bytes) -> None:
    """Check an upload of any kind; leading bytes set its suffix, the block size and the longest row."""
    (suffix, block, max_bytes), body = take_bytes(data, 3)
    key, row_bytes = f"in/a{SUFFIXES[suffix % len(SUFFIXES)]}", _row_bytes(max_bytes)
    reading = read_upload(Upload(body, block + 1), key, row_bytes)
    check_reading(reading, row_bytes)
    whole = read_upload(Upload(body), key, row_bytes)
    assert whole.records == reading.records, "the size of blocks changes the rows"


def json_values(data: bytes) -> None:
    """Check an upload that is read as JSON values: an array, wrapped or not."""
    (front, block, max_bytes), body = take_bytes(data, 3)
    fronts = (b"[", b'{"requests":[', b'{"a":1,"requests":[{"b":2},', b"[{\n", b"[[")
    upload(bytes((3, block, max_bytes)) + fronts[front % len(fronts)] + body)


def table(data: bytes) -> None:
    """Check an upload that is read as a table of text."""
    (front, block, max_bytes), body = take_bytes(data, 3)
    fronts = (b"a,b\r\n", b"sep=;\r\na;b\r\n", b"a\tb\n", b'"a","b "\n1,"', b"")
    csv_suffix = SUFFIXES.index(".csv")
    upload(bytes((csv_suffix, block, max_bytes)) + fronts[front % len(fronts)] + body)


def workbook_bytes(data: bytes) -> None:
    """Check a workbook in which some bytes are others, and one that is cut off."""
    (position, value, end), text = take_bytes(data, 3)
    rows: list[list[Cell]] = [["a", "b"]]
    rows += [[char, 1.5] for char in text.decode("cp437")]
    body = bytearray(workbook(rows))
    body[position * len(body) // 256] ^= value
    stop = len(body) - end if end < 100 else len(body)
    reading = read_upload(Upload(bytes(body[:stop])), "in/a.xlsx", _LONG_ROW)
    check_reading(reading, _LONG_ROW)


def parquet_bytes(data: bytes) -> None:
    """Check a Parquet file in which some bytes are others, and one that is cut off.

    Most of the bytes of a small file are its footer.
    """
    (position, value, end), text = take_bytes(data, 3)
    body = bytearray(parquet_of(("a", "b"), [(char, char * 9) for char in text.decode("cp437")]))
    body[position * len(body) // 256] ^= value
    stop = len(body) - end if end < 100 else len(body)
    reading = read_upload(Upload(bytes(body[:stop])), "in/a.parquet", _LONG_ROW)
    check_reading(reading, _LONG_ROW)


def packed(data: bytes) -> None:
    """Check compressed uploads: the same rows as unpacked, whatever members they consist of.

    Leading bytes set the container, the size of a member, where it is cut off, and which byte is changed.
    """
    (container, member, cut_off, changed), body = take_bytes(data, 4)
    compress = [*COMPRESSORS.values()][container % len(COMPRESSORS)]
    size = member % 64 * 8 + 8
    members = [compress(body[start : start + size]) for start in range(0, len(body) or 1, size)]
    whole = b"".join(members)
    plain = read_upload(Upload(body), "in/a.jsonl", _LONG_ROW)
    unpacked = read_upload(Upload(whole, 7), "in/a.jsonl", _LONG_ROW)
    assert (unpacked.records, unpacked.refusal) == (plain.records, plain.refusal)
    check_reading(unpacked, _LONG_ROW)
    _check_damaged(bytearray(whole[: len(whole) - cut_off % len(whole)]), changed)


def _check_damaged(damaged: bytearray, changed: int) -> None:
    """Check that damaged data is refused, or read as what it has become."""
    if damaged and changed:
        damaged[changed * len(damaged) // 256] ^= changed
    reading = read_upload(Upload(bytes(damaged)), "in/a.jsonl.gz", _LONG_ROW)
    check_reading(reading, _LONG_ROW)


def encoded(data: bytes) -> None:
    """Check text in other encodings: the same rows as in UTF-8, if both encodings are recognized."""
    (code, end), body = take_bytes(data, 2)
    encoding = ENCODINGS[code % len(ENCODINGS)]
    text = body.decode(errors="replace").encode(encoding, "ignore").decode(encoding)
    encoded_text, plain_text = text.encode(encoding), text.encode()
    check_reading(read_upload(Upload(encoded_text[: -1 - end % 9]), "a.jsonl", 999), 999)
    try:
        recognized = encoding_of(encoded_text), encoding_of(plain_text)
    except UnreadableUploadError:
        return
    if recognized != (_NAMES.get(encoding, encoding), "utf-8"):
        return
    plain = read_upload(Upload(plain_text), "in/a.jsonl", _LONG_ROW)
    if plain.refusal is not None:  # it begins like a file of another kind
        return
    other = read_upload(Upload(encoded_text, 3), "in/a.jsonl", _LONG_ROW)
    assert [record.data for record in other.records] == [record.data for record in plain.records]
