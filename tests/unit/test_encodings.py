"""Encodings other than UTF-8: recognized by the first bytes, and turned into UTF-8 as they stream."""

import codecs
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.readers.encodings import encoding_of, transcoded
from functions.readers.text import HEAD_BYTES
from tests.unit.uploads import Upload

UTF_16 = ("utf-16-le", "utf-16-be")
JSON = '{"custom_id":"é","text":"日本語, “ça va” 😀"}\n'
GERMAN = "id;Anrede;Größe\n1;Frau Müller;“groß”\n2;Herr Weiß;übergroß — 5 €\n"


def text_of(body: bytes, encoding: str, block: int = 1 << 20) -> bytes:
    return b"".join(transcoded(Upload(body, block), encoding).read())


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        (b"", "utf-8"),
        (b"{", "utf-8"),
        (b"{}" + bytes(4096), "utf-8"),
        (bytes(4096), "utf-8"),
        (JSON.encode(), "utf-8"),
        (JSON.encode("utf-8-sig"), "utf-8"),
        (JSON.encode("utf-16"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + JSON.encode("utf-16-be"), "utf-16-be"),
        (JSON.encode("utf-16-le"), "utf-16-le"),
        (JSON.encode("utf-16-be"), "utf-16-be"),
        ("日本語の文章,二番目の列\n".encode("utf-16-le") * 9, "utf-16-le"),
        ("{}".encode("utf-16-le"), "utf-16-le"),
        # Some NULs, all of them at odd offsets, do not make UTF-8 another encoding.
        (b"id,text\n1,a\0b\0\n2,some other text\n", "utf-8"),
        (b'{"a":"b\0c"}\n', "utf-8"),
        ("ひらがな,かな\n".encode("utf-16-le") * 9, "utf-16-le"),
        (GERMAN.encode(), "utf-8"),
        (GERMAN.encode("cp1252"), "cp1252"),
        (GERMAN.encode("cp1252") + b"\r\n\x1a", "cp1252"),
        # A few invalid bytes do not make a text in UTF-8 another one.
        (GERMAN.encode() + b"\xe9", "utf-8"),
        (JSON.encode()[:-5], "utf-8"),
        (b'{"a":"\xed\xa0\xbd"}', "utf-8"),
        (b'{"a":"\x81"}', "utf-8"),
        ("日本語の文章です".encode("shift-jis"), "utf-8"),
    ],
)  # fmt: skip
def test_the_encoding_is_recognized(head: bytes, encoding: str) -> None:
    assert encoding_of(head) == encoding


def test_a_character_that_the_head_cuts_is_not_invalid() -> None:
    body = b"x" * (HEAD_BYTES - 1) + "é".encode()

    assert encoding_of(body[:HEAD_BYTES]) == "utf-8"


@pytest.mark.parametrize("encoding", ["utf-32", "utf-32-le", "utf-32-be"])
def test_utf_32_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(UnreadableUploadError, match=r"^the upload is UTF-32 text, which is not supported; save it as UTF-8$"):  # fmt: skip
        encoding_of(JSON.encode(encoding))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.sampled_from(UTF_16), st.integers(1, 9), st.data())  # fmt: skip
def test_utf_16_becomes_utf_8_in_blocks_of_any_size(
    text: str, encoding: str, block: int, data: st.DataObject
) -> None:
    source, expected = Upload(text.encode(encoding), block), text.encode()
    start = data.draw(st.integers(0, len(expected) + 1))
    stop = data.draw(st.none() | st.integers(0, len(expected) + 1))

    assert b"".join(transcoded(source, encoding).read()) == expected
    assert b"".join(transcoded(source, encoding).read(start, stop)) == expected[start:stop]


def test_cp1252_becomes_utf_8() -> None:
    assert text_of(GERMAN.encode("cp1252"), "cp1252", 1) == GERMAN.encode()


def test_a_byte_that_cp1252_does_not_have_spoils_only_its_row() -> None:
    assert text_of(b"\xe9\n\x81\n", "cp1252") == b"\xc3\xa9\n\x81\n"


def test_a_text_in_utf_8_is_left_alone() -> None:
    source = Upload(JSON.encode())

    assert transcoded(source, "utf-8") is source


@pytest.mark.parametrize("encoding", [*UTF_16, "cp1252"])
def test_another_encoding_is_not_seekable_and_keeps_its_name(encoding: str) -> None:
    source = transcoded(Upload(b"abcd"), encoding)

    assert (source.seekable, source.uri, source.size_bytes) == (False, Upload.uri, 4)


@pytest.mark.parametrize("encoding", UTF_16)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("broken", "offset"),
    [("{}".encode("utf-16-le") + b"x", 4), ("low", 6), ("high", 6), ("end", 6)],
)
def test_what_is_no_utf_16_is_refused_with_its_offset(
    encoding: str, block: int, broken: bytes | str, offset: int
) -> None:
    texts = {"low": "é😀\udc00b", "high": "é😀\ud800b", "end": "é😀\ud800"}
    body = texts[broken].encode(encoding, "surrogatepass") if isinstance(broken, str) else broken

    with pytest.raises(
        UnreadableUploadError,
        match=f"^the upload is not {encoding.upper()} text from offset {offset} on; check whether "
        "the file is cut off, or save it as UTF-8$",
    ):
        text_of(body, encoding, block)


@given(st.binary(max_size=80), st.sampled_from([*UTF_16, "cp1252"]), st.integers(1, 9))
def test_any_bytes_are_read_or_refused(body: bytes, encoding: str, block: int) -> None:
    with suppress(UnreadableUploadError):
        encoding_of(body)
        text_of(body, encoding, block)


def test_memory_does_not_grow_with_the_upload() -> None:
    class Long(Upload):
        def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            del start, stop
            return (self.body for _ in range(50))

    body = (json.dumps({"a": "x" * 1000}) + "\n").encode("utf-16-le") * 100
    tracemalloc.start()
    size = sum(map(len, transcoded(Long(body), "utf-16-le").read()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert size == 50 * len(body) // 2
    assert peak < 4_000_000
