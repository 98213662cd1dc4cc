"""The format of an upload is detected from its content."""

import bz2
import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.model.upload_format import UploadFormat
from functions.planning.validation import validate
from functions.readers import READERS, json_values
from functions.readers.containers import unpacked
from functions.readers.detect import HEAD_BYTES, detect
from functions.readers.encodings import transcoded
from tests.unit.uploads import Upload

SAMPLES = Path(__file__).parents[3] / "shared" / "samples" / "odd"
ROW = b'{"custom_id":"a","params":{"model":"m"}}'
CUT_OFF = [
    b"{",
    b'{"custom_id":',
    b'{"custom_id":"a",',
    b'{"custom_id":"a","params":{',
    b'{"custom_id":"a","params":{"messages":[',
    b'{"custom_id":"a","params":{"messages":[{"role":"user","content":"one, two,',
]
"""First rows that were cut off beside punctuation, where valid JSON may have a line feed."""
TABLE = b"id,prompt\n1,Hello\n2,World\n"
LONG = b'{"a":"' + b"x" * HEAD_BYTES + b'"'
"""An object whose first member is longer than what is looked at."""


def reader_of(body: bytes, key: str = "in/march.jsonl") -> str:
    return detect(Upload(body), key).reader


@pytest.mark.parametrize(
    ("body", "reader"),
    [
        (b"", "jsonl"),
        (b" \r\n", "jsonl"),
        (b"\xef\xbb\xbf", "jsonl"),
        (ROW, "jsonl"),
        (ROW + b"\n" + ROW, "jsonl"),
        (b"\xef\xbb\xbf\r\n " + ROW + b"\r\n" + ROW, "jsonl"),
        (ROW + ROW, "jsonl"),
        (ROW + b"\n[]\n", "jsonl"),
        (LONG + b"}\n" + ROW, "jsonl"),
        (b'{"requests":1}\n{}', "jsonl"),
        (b'{"a":{"requests":[1]}}\n{}', "jsonl"),
        (b"[", "json"),
        (b"[\n" + ROW + b",\n" + ROW + b"]", "json"),
        (b"\xef\xbb\xbf \n[" + ROW, "json"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{\n" + ROW[1:], "json"),
        (b'{"requests":[' + ROW + b"]}", "json"),
        (b'{"model":"m","requests":[]}', "json"),
        (b'{\n"requests" :\n[', "json"),
        (LONG + b',"requests":[' + ROW + b"]}", "json"),
        (b'{\n  "custom_id": "a"\n}\n', "json"),
        (b'{"custom_id":"a",\r\n"params":{}}', "json"),
        (b'{"a":1\n,"b":2}', "json"),
        (ROW + b",\n" + ROW + b",\n", "json"),
        (ROW + b"\n," + ROW, "json"),
        # A first row that is broken or cut off leaves the others their lines.
        (b'{"custom_id":"a","params":{"model":"m"\n' + ROW + b"\n" + ROW, "jsonl"),
        (b'{"custom_id":"a}\n' + ROW + b"\n", "jsonl"),
        *[
            (cut_off + b"\n" + ROW + b"\r\n\n" + ROW + end, "jsonl")
            for cut_off in CUT_OFF
            for end in (b"", b"\n")
        ],
        *[(cut_off + b"\n" + ROW, "jsonl") for cut_off in CUT_OFF],
        (CUT_OFF[0] + b"\n" + CUT_OFF[1] + b"\n" + ROW + b"\n" + ROW, "jsonl"),
        (b'{"requests":[\n' + ROW + b",\n" + ROW + b"\n]}", "json"),
        (b'{"requests":[' + ROW + b",\n" + ROW + b"]}", "json"),
        (b'{"a":\n' + ROW + b"\n}\n" + ROW, "json"),
        (b'{"a":\n{"b":\n' + ROW + b"\n}}", "json"),
        (b'{"a":"x', "jsonl"),
        (b'{"a":[', "jsonl"),
        (b"\xe2\x80\x8b" + ROW + b"\n" + ROW, "jsonl"),
        (b"no json\n" + ROW, "jsonl"),
        (b"12\n13\n", "jsonl"),
        (TABLE, "csv"),
        (b"\xef\xbb\xbf" + TABLE, "csv"),
        (b'"id";"prompt"\n1;"Hello; World"\n', "csv"),
        (b"id\tprompt\r\n1\tHello\r\n", "csv"),
        (b"sep=;\nid\n1\n", "csv"),
    ],
)  # fmt: skip
def test_the_first_bytes_decide_whatever_the_suffix(body: bytes, reader: str) -> None:
    assert reader_of(body, "in/march.jsonl") == reader
    assert reader_of(body, "in/march.JSON.gz") == reader


@pytest.mark.parametrize(
    "key", ["in/march.csv", "March.TSV", "a.txt", "a.csv.gz", "a.txt.ZST", "a.tsv.bz2"]
)
@pytest.mark.parametrize(
    "body", [b"prompt\nHello\n", b"prompt", b"[id],[name]\n1,2", b"name: x\nb: y\n", b"a,b\n1\n"]
)
def test_the_suffix_of_a_table_decides_where_the_content_does_not(body: bytes, key: str) -> None:
    assert reader_of(body, key) == "csv"


@pytest.mark.parametrize("key", ["in/march.csv", "a.txt.gz"])
@pytest.mark.parametrize(
    ("body", "reader"), [(ROW, "jsonl"), (b"[" + ROW + b"]", "json"), (b'{\n"a":1}', "json"), (b"", "jsonl")]
)  # fmt: skip
def test_json_is_json_under_the_suffix_of_a_table(body: bytes, reader: str, key: str) -> None:
    assert reader_of(body, key) == reader


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("container", PACKED)
@pytest.mark.parametrize(("body", "reader"), [(ROW, "jsonl"), (b"[]", "json"), (TABLE, "csv")])
@pytest.mark.parametrize("key", ["a.jsonl", "a.jsonl.gz"])
def test_a_container_is_looked_into(container: str, body: bytes, reader: str, key: str) -> None:
    packed = Upload(PACKED[container](body))

    assert detect(packed, key) == UploadFormat(reader=reader, container=container)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("body", "reader"), [(ROW + b"\n" + ROW, "jsonl"), (b"[\n1]", "json"), (TABLE, "csv")])  # fmt: skip
@pytest.mark.parametrize("container", [None, "gzip"])
def test_utf_16_is_looked_into(
    encoding: str, body: bytes, reader: str, container: str | None
) -> None:
    text = body.decode().encode(encoding)
    upload = Upload(text if container is None else PACKED[container](text))
    expected = "utf-16-le" if encoding == "utf-16" else encoding

    assert detect(upload, "a.jsonl") == UploadFormat(
        reader=reader, container=container, encoding=expected
    )


def test_cp1252_is_a_guess_that_a_notice_says() -> None:
    notice = "read as Windows-1252 (cp1252), because the text is not UTF-8; save it as UTF-8 if characters are wrong"
    found = detect(Upload("id;Größe\n1;Müller".encode("cp1252")), "a.csv")

    assert found == UploadFormat(
        reader="csv",
        encoding="cp1252",
        notices=[notice],
    )


def zipped(**files: bytes) -> bytes:
    """Return a zip archive; ``__`` in a name stands for a slash."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("rows.jsonl"))
    return file.getvalue()


NOISE = bytes(range(256)) * 2000
CONTENT_TYPES = "[Content_Types].xml"
XLSX = zipped(**{CONTENT_TYPES: b"<Types/>", "xl__workbook.xml": b"<workbook/>"})
NAMES_AT_THE_END = zipped(
    **{
        "a.bin": bytes(HEAD_BYTES),
        "xl__workbook.xml": b"",
        CONTENT_TYPES: b"<Types/>",
    }
)


@pytest.mark.parametrize("body", [XLSX, NAMES_AT_THE_END])
@pytest.mark.parametrize("key", ["a.xlsx", "a.csv"])
def test_a_workbook_is_a_zip_archive_with_sheets(body: bytes, key: str) -> None:
    assert detect(Upload(body), key) == UploadFormat(reader="xlsx")


_ARCHIVE = "upload the files inside it one by one; gzip, zstd and bzip2 are unpacked"
_REPACK = "compress it with gzip, zstd or bzip2 instead"
_EXPORT = "export it as CSV or JSON Lines"
_ROWS = "check where it was downloaded from, and upload rows, such as JSON Lines"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"%PDF-1.7\n", "a PDF; upload rows, such as JSON Lines; put a PDF into a row, as a document block"),
        (zipped(a=b"x"), f"a zip archive; {_ARCHIVE}"),
        (zipped(), f"an empty or split zip archive; {_ARCHIVE}"),
        (zipped(**{CONTENT_TYPES: b"", "word__document.xml": b""}), "a Word document; upload a table, such as CSV, or JSON Lines"),
        (zipped(**{CONTENT_TYPES: b"", "xl__workbook.bin": b""}), "a binary Excel workbook (.xlsb); save it as .xlsx or as CSV"),
        (tarred(), f"a tar archive; {_ARCHIVE}"),
        (gzip.compress(tarred()), f"a tar archive; {_ARCHIVE}"),
        (b"7z\xbc\xaf\x27\x1c" + NOISE, f"a 7z archive; {_ARCHIVE}"),
        (b"Rar!\x1a\x07\0", f"a RAR archive; {_ARCHIVE}"),
        (b"\xfd7zXZ\0", f"compressed with xz; {_REPACK}"),
        (b"\x04\x22\x4d\x18", f"compressed with LZ4; {_REPACK}"),
        (b"\xff\x06\0\0sNaPpY", f"compressed with Snappy; {_REPACK}"),
        (b"\x1f\x9d\x90", f"compressed with compress; {_REPACK}"),
        (gzip.compress(bz2.compress(ROW)), "bzip2 data inside gzip data; compress it once"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "an Excel workbook from before 2007 (.xls) or with a password; save it as .xlsx without a password, or as CSV"),
        (b"PARE", "an encrypted Parquet file; write it without encryption"),
        (gzip.compress(b"PAR1"), "a compressed Parquet file; upload it as it is; its data is compressed within"),
        (b"Obj\x01", f"an Avro file; {_EXPORT}"),
        (b"ORC", f"an ORC file; {_EXPORT}"),
        (b"ARROW1\0\0", f"an Arrow or Feather file; {_EXPORT}"),
        (b"SQLite format 3\0", f"an SQLite database; {_EXPORT}"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "a Git LFS pointer instead of the file; run 'git lfs pull' and upload the file"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", f"an HTML page; {_ROWS}"),
        ("<HTML lang='en'>".encode("utf-16"), f"an HTML page; {_ROWS}"),
        (b"<?xml version='1.0'?><Error>", f"XML; {_EXPORT}"),
        (b"<rows>", f"XML; {_EXPORT}"),
        (b"{\\rtf1\\ansi", "a rich text document; save it as plain text, as JSON Lines or CSV"),
        (b"---\n- a: 1\n", "YAML; convert it to JSON, for example with 'yq -o json'"),
        (b"- custom_id: a\n  params:\n    model: m\n", "YAML; convert it to JSON, for example with 'yq -o json'"),
        (b"requests:\n  - custom_id: a\n", "YAML; convert it to JSON, for example with 'yq -o json'"),
        (ROW.decode().encode("utf-32"), "UTF-32 text, which is not supported; save it as UTF-8"),
    ],
)  # fmt: skip
def test_other_kinds_of_file_are_refused_by_name(body: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableUploadError) as refused:
        detect(Upload(body), "in/march.jsonl")

    assert str(refused.value) == f"the upload is {sentence}"


@pytest.mark.parametrize("body", [NOISE, b"\0" * 100_000, b"\x89PNG\r\n\x1a\n" + NOISE])
def test_other_bytes_are_no_text(body: bytes) -> None:
    with pytest.raises(UnreadableUploadError, match="is not UTF-8 text"):
        detect(Upload(body), "in/march.jsonl")


@pytest.mark.skipif(not SAMPLES.exists(), reason="the samples are not here")
def test_files_that_people_uploaded_are_read_as_what_they_are() -> None:
    found = {path.name: reader_of(path.read_bytes(), path.name) for path in SAMPLES.iterdir()}

    assert {name for name, reader in found.items() if reader == "json"} == {
        f"array-over-lines-runs-its-last-row--{kind}.jsonl"
        for kind in ("array", "pretty", "requests", "trailing_commas")
    }
    assert {*found.values()} == {"json", "jsonl"}


@pytest.mark.skipif(not SAMPLES.exists(), reason="the samples are not here")
@pytest.mark.parametrize(
    ("kind", "count"), [("array", 4), ("pretty", 3), ("requests", 4), ("trailing_commas", 4)]
)
def test_all_rows_of_an_array_over_lines_are_sent_or_none(kind: str, count: int) -> None:
    body = (SAMPLES / f"array-over-lines-runs-its-last-row--{kind}.jsonl").read_bytes()
    rows = [
        validate(record, row_bytes=1000, api_version="2026-10-21")
        for record in json_values.read(Upload(body), json_values.START, 1000)
    ]

    assert [bytes(row.custom_id) for row in rows] == [b'"r%d"' % number for number in range(count)]
    assert all(row.rejection is None for row in rows)


def test_an_empty_object_is_not_read() -> None:
    class Empty(Upload):
        def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            raise NotImplementedError

    assert detect(Empty(b""), "a.csv") == UploadFormat()


def test_only_the_beginning_of_a_large_upload_is_read() -> None:
    class Large(Upload):
        def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            assert start == 0
            assert stop == HEAD_BYTES
            return super().read(start, stop)

    for body in (ROW + b"\n", b"[" + ROW, b'{"a":"broken\n' + ROW + b"\n", TABLE):
        detect(Large(body * (1 + HEAD_BYTES // 20)), "a.jsonl")


@given(st.binary(max_size=80), st.sampled_from([b"", b"{", b"[", b"PK\x03\x04", b"\x1f\x8b\x08", b"\xff\xfe", b"id,b\n"]),
       st.sampled_from(["a.jsonl", "a.csv"]))  # fmt: skip
def test_any_bytes_are_read_by_a_reader_or_refused(body: bytes, start: bytes, key: str) -> None:
    source = Upload(start + body, 7)
    with suppress(UnreadableUploadError):
        found = detect(source, key)
        if found.reader in READERS:
            text = source if found.container is None else unpacked(source, found.container)
            reader = READERS[found.reader]
            list(reader.read(transcoded(text, found.encoding), reader.START, 1000))
