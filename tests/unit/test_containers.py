"""Compressed uploads: their content, whatever the blocks, the members and the damage."""

import bz2
import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from functions.errors import UnreadableUploadError
from functions.readers.containers import MAX_BLOCK, container_of, unpacked
from tests.unit.uploads import Upload

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
}
each_container = pytest.mark.parametrize("container", PACK)


def content(
    container: str, body: bytes, block: int = 1 << 20, start: int = 0, stop: int | None = None
) -> bytes:
    return b"".join(unpacked(Upload(body, block), container).read(start, stop))


@each_container
@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 40), st.data())
def test_the_content_of_all_members_is_one_text(
    container: str, members: list[bytes], block: int, data: st.DataObject
) -> None:
    body, text = b"".join(map(PACK[container], members)), b"".join(members)
    start = data.draw(st.integers(0, len(text) + 1))
    stop = data.draw(st.none() | st.integers(0, len(text) + 1))

    assert content(container, body, block) == text
    assert content(container, body, block, start, stop) == text[start:stop]


@each_container
@pytest.mark.parametrize("zeros", [1, 511, 1 << 17])
def test_zeros_after_and_between_members_are_padding(container: str, zeros: int) -> None:
    one, two = PACK[container](b"one"), PACK[container](b"two")

    assert content(container, one + bytes(zeros) + two + bytes(zeros)) == b"onetwo"


def test_skippable_frames_of_zstd_have_no_content() -> None:
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"
    frame = PACK["zstd"](b"text")

    assert container_of(skippable) == "zstd"
    assert content("zstd", skippable + frame + skippable + frame) == b"texttext"


@each_container
def test_a_container_is_known_by_its_first_bytes(container: str) -> None:
    assert container_of(PACK[container](b"")[:10]) == container
    assert container_of(PACK[container](b"text")[:10]) == container


@pytest.mark.parametrize(
    "head", [b"", b"{", b"\x1f", b"BZh", b"BZhello there", b"PK\x03\x04", b"\x1f\x9d\x90"]
)
def test_other_first_bytes_are_no_container(head: bytes) -> None:
    assert container_of(head) is None


@each_container
def test_a_compressed_upload_is_not_seekable_and_keeps_its_name(container: str) -> None:
    body = PACK[container](b"text")
    source = unpacked(Upload(body), container)

    assert (source.seekable, source.uri, source.size_bytes) == (False, Upload.uri, len(body))


@each_container
def test_an_upload_that_is_cut_off_anywhere_is_refused(container: str) -> None:
    body = PACK[container](b"text" * 9)

    for length in range(1, len(body)):
        with pytest.raises(
            UnreadableUploadError,
            match=rf"^the {container} data of the upload ends too early before its byte {length:,}, "
            r"after \d+ unpacked bytes; compress and upload it again$",
        ):
            content(container, body[:length])


@each_container
def test_damage_is_refused_with_its_place(container: str) -> None:
    one, two = PACK[container](b"one" * 9), bytearray(PACK[container](b"two" * 9))
    two[-3] ^= 0xFF  # in the checksum

    with pytest.raises(UnreadableUploadError, match=f"^the {container} data of the upload is damaged .* before its byte {len(one + two)}, "):  # fmt: skip
        content(container, one + two)


@each_container
def test_other_data_after_a_member_is_refused(container: str) -> None:
    with pytest.raises(UnreadableUploadError, match="is damaged"):
        content(container, PACK[container](b"one") + b"\0{}\n{}\n{}\n{}\n")


@each_container
@given(st.binary(max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_any_bytes_are_read_or_refused(container: str, data: bytes, cut: int, keep: int) -> None:
    body = PACK[container](b"text" * 50)
    with suppress(UnreadableUploadError):
        content(container, body[:cut] + data + body[cut + keep :], 7)


def test_a_window_beyond_the_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    with pytest.raises(UnreadableUploadError, match="too much memory"):
        content("zstd", packer.compress(b"text") + packer.flush())


@each_container
def test_memory_does_not_grow_with_what_a_small_upload_unpacks_to(container: str) -> None:
    size = 1 << 27
    body = PACK[container](bytes(size))
    assert len(body) < size // 500

    tracemalloc.start()
    sizes = [len(block) for block in unpacked(Upload(body), container).read()]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert sum(sizes) == size
    assert max(sizes) <= (MAX_BLOCK if container != "zstd" else 1 << 24)
    assert peak < 1 << 25


@each_container
def test_only_as_much_is_unpacked_as_is_asked_for(container: str) -> None:
    class Endless(Upload):
        def read(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
            del start, stop
            while True:
                yield self.body

    source = unpacked(Endless(PACK[container](b"0123456789")), container)

    assert b"".join(source.read(95, 105)) == b"5678901234"
