"""Joining objects under S3's limits, which the emulators do not enforce."""

import itertools
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import multipart_plan
from functions.model.items.stored_objects import StoredObject
from functions.model.multipart_plan import (
    ByteRange,
    UploadPart,
    crc32_combine,
    groups,
    join_plan,
    joined_crc32,
)
from tests.unit.factories import stored_pieces

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
MIB, GIB = 1024**2, 1024**3
S3 = {"min_part": 5 * MIB, "max_part": 5 * GIB, "max_parts": 10_000}

_sizes = (
    st.integers(0, 100)
    | st.integers(0, 6 * MIB)
    | st.integers(4 * MIB, 16 * MIB)
    | st.integers(GIB, 22 * GIB)
    | st.sampled_from([5 * MIB, 5 * MIB - 1, 5 * MIB + 1, 10 * MIB - 1, 10 * MIB, 5 * GIB, 5 * GIB + 1])
)  # fmt: skip
lists = st.lists(_sizes, max_size=30)


def test_the_limits_are_those_of_s3() -> None:
    assert tuple(S3.values()) == (
        multipart_plan.MIN_PART_BYTES,
        multipart_plan.MAX_PART_BYTES,
        multipart_plan.MAX_PARTS,
    )


@given(lists)
@example([5 * MIB - 1, 5 * MIB])
@example([1, 10 * MIB - 1])
@example([1, 5 * GIB + 4 * MIB])
@example([0, 0, 1])
def test_every_part_but_the_last_has_an_allowed_size(sizes: list[int]) -> None:
    plan = join_plan(stored_pieces(*sizes))

    assert all(S3["min_part"] <= part.size for part in plan[:-1])
    assert all(0 < part.size <= S3["max_part"] for part in plan)
    assert len(plan) <= S3["max_parts"]


@given(lists)
def test_the_parts_contain_all_bytes_in_order(sizes: list[int]) -> None:
    ranges = [
        byte_range for part in join_plan(stored_pieces(*sizes)) for byte_range in part.ranges
    ]

    for key, key_ranges in itertools.groupby(ranges, key=lambda byte_range: byte_range.key):
        offset = 0
        for byte_range in key_ranges:
            assert (byte_range.start, byte_range.size > 0) == (offset, True)
            offset += byte_range.size
        assert offset == sizes[int(key.removeprefix("work/"))]
    joined = [key for key, _ in itertools.groupby(ranges, key=lambda byte_range: byte_range.key)]
    assert joined == [f"work/{n}" for n, size in enumerate(sizes) if size]


@given(lists)
def test_only_pieces_that_s3_cannot_copy_go_through_memory(sizes: list[int]) -> None:
    plan = join_plan(stored_pieces(*sizes))

    for part in plan:
        if not part.can_be_copied:
            assert part.size < 2 * S3["min_part"]
    bytes_moved = sum(part.size for part in plan if not part.can_be_copied)
    small_sizes = [size for size in sizes if size < S3["min_part"]]
    # A run of small pieces may need bytes of the large piece after it.
    assert bytes_moved <= sum(small_sizes) + len(small_sizes) * 2 * S3["min_part"]
    if not small_sizes:
        assert bytes_moved == 0


def test_a_large_piece_fills_up_the_small_one_before_it() -> None:
    assert join_plan(stored_pieces(1, 100 * MIB)) == [
        UploadPart((ByteRange("work/0", 0, 1), ByteRange("work/1", 0, 5 * MIB - 1))),
        UploadPart((ByteRange("work/1", 5 * MIB - 1, 95 * MIB + 1),)),
    ]


@given(lists)
@example([5_000 * GIB])
@example([10_000 * 5 * GIB])
@example([5 * MIB] * 9_999 + [GIB])
def test_copied_parts_are_as_short_as_the_part_limit_allows(sizes: list[int]) -> None:
    """The SDK waits a minute for a copy; 256 MiB take seconds."""
    longest_part = max((part.size for part in join_plan(stored_pieces(*sizes))), default=0)

    doublings = next((n for n in range(6) if sum(-(-s // (256 * MIB << n)) for s in sizes) + len(sizes) <= 10_000), 6)  # fmt: skip
    assert longest_part <= 256 * MIB << doublings


def test_an_object_of_fifty_gib_is_copied_in_parts_of_256_mib() -> None:
    plan = join_plan(stored_pieces(50 * GIB))

    assert [part.size for part in plan] == [256 * MIB] * 200


def test_an_empty_list_gives_an_empty_plan() -> None:
    assert join_plan(stored_pieces()) == join_plan(stored_pieces(0, 0)) == []


def test_too_many_parts_raise_an_error_with_the_limit() -> None:
    with pytest.raises(ValueError, match="10,001 parts exceed S3's limit of 10,000"):
        join_plan(stored_pieces(*[5 * MIB] * 10_001))


@pytest.mark.parametrize(
    "sizes", [[5 * MIB] * 25_000, [MIB] * 10_001, [5 * GIB + 1] * 5_001, [], [5 * MIB] * 9_999 + [9 * GIB]]
)  # fmt: skip
def test_each_group_of_pieces_can_be_joined_in_order(sizes: list[int]) -> None:
    all_pieces = stored_pieces(*sizes)

    grouped = groups(all_pieces)

    assert [piece for group in grouped for piece in group] == all_pieces
    assert all(len(join_plan(group)) <= S3["max_parts"] for group in grouped)


def test_pieces_that_can_be_joined_at_once_are_one_group() -> None:
    assert len(groups(stored_pieces(*[5 * MIB] * 10_000))) == 1


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_the_crc_of_a_join_is_that_of_its_bytes(contents: list[bytes]) -> None:
    stored_objects = [
        StoredObject(key="k", size=len(content), crc32=zlib.crc32(content)) for content in contents
    ]

    assert joined_crc32(stored_objects) == zlib.crc32(b"".join(contents))


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_combined_crcs_equal_those_of_zlib(first: bytes, second: bytes) -> None:
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))

    assert combined == zlib.crc32(first + second)


def test_combining_crcs_of_huge_sizes_is_associative() -> None:
    """Combining is associative: only the order differs."""
    terabyte = 1 << 40
    left = crc32_combine(crc32_combine(1, 2, terabyte), zlib.crc32(b"x"), 1)
    right = crc32_combine(1, crc32_combine(2, zlib.crc32(b"x"), 1), terabyte + 1)

    assert left == right
