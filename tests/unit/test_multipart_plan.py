"""How objects are joined under S3's rules; the emulators do not hold them, so they are pinned here as data."""

import itertools
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions.model import multipart_plan
from functions.model.items import StoredObject
from functions.model.multipart_plan import (
    ByteRange,
    UploadPart,
    crc32_combine,
    groups,
    join_plan,
    joined_crc32,
)
from tests.unit.factories import pieces

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


def test_the_walls_are_s3s_own() -> None:
    assert tuple(S3.values()) == (
        multipart_plan.MIN_PART,
        multipart_plan.MAX_PART,
        multipart_plan.MAX_PARTS,
    )


@given(lists)
@example([5 * MIB - 1, 5 * MIB])
@example([1, 10 * MIB - 1])
@example([1, 5 * GIB + 4 * MIB])
@example([0, 0, 1])
def test_every_part_but_the_last_is_one_that_s3_takes(sizes: list[int]) -> None:
    plan = join_plan(pieces(*sizes))

    assert all(S3["min_part"] <= part.size for part in plan[:-1])
    assert all(0 < part.size <= S3["max_part"] for part in plan)
    assert len(plan) <= S3["max_parts"]


@given(lists)
def test_the_parts_are_all_bytes_in_order(sizes: list[int]) -> None:
    spans = [span for part in join_plan(pieces(*sizes)) for span in part.ranges]

    for key, run in itertools.groupby(spans, key=lambda span: span.key):
        at = 0
        for span in run:
            assert (span.start, span.size > 0) == (at, True)
            at += span.size
        assert at == sizes[int(key.removeprefix("work/"))]
    joined = [key for key, _ in itertools.groupby(spans, key=lambda span: span.key)]
    assert joined == [f"work/{n}" for n, size in enumerate(sizes) if size]


@given(lists)
def test_only_what_s3_cannot_copy_goes_through_memory(sizes: list[int]) -> None:
    plan = join_plan(pieces(*sizes))

    for part in plan:
        if not part.copied:
            assert part.size < 2 * S3["min_part"]
    moved = sum(part.size for part in plan if not part.copied)
    small = [size for size in sizes if size < S3["min_part"]]
    # A run of small ones may need something of the large one behind it to be a part.
    assert moved <= sum(small) + len(small) * 2 * S3["min_part"]
    if not small:
        assert moved == 0


def test_a_large_piece_behind_a_small_one_gives_what_that_lacks_and_no_more() -> None:
    assert join_plan(pieces(1, 100 * MIB)) == [
        UploadPart((ByteRange("work/0", 0, 1), ByteRange("work/1", 0, 5 * MIB - 1))),
        UploadPart((ByteRange("work/1", 5 * MIB - 1, 95 * MIB + 1),)),
    ]


@given(lists)
@example([5_000 * GIB])
@example([10_000 * 5 * GIB])
@example([5 * MIB] * 9_999 + [GIB])
def test_a_copied_part_is_as_short_as_ten_thousand_parts_allow(sizes: list[int]) -> None:
    """The SDK waits a minute for a copy; some hundred MiB take seconds."""
    longest = max((part.size for part in join_plan(pieces(*sizes))), default=0)

    fit = next((n for n in range(6) if sum(-(-s // (256 * MIB << n)) for s in sizes) + len(sizes) <= 10_000), 6)  # fmt: skip
    assert longest <= 256 * MIB << fit


def test_an_object_of_fifty_gib_is_copied_in_parts_of_256_mib() -> None:
    plan = join_plan(pieces(50 * GIB))

    assert [part.size for part in plan] == [256 * MIB] * 200


def test_nothing_is_a_plan_of_nothing() -> None:
    assert join_plan(pieces()) == join_plan(pieces(0, 0)) == []


def test_more_parts_than_s3_joins_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="10,001 parts exceed S3's limit of 10,000"):
        join_plan(pieces(*[5 * MIB] * 10_001))


@pytest.mark.parametrize(
    "sizes", [[5 * MIB] * 25_000, [MIB] * 10_001, [5 * GIB + 1] * 5_001, [], [5 * MIB] * 9_999 + [9 * GIB]]
)  # fmt: skip
def test_each_group_of_pieces_can_be_joined_and_the_order_stays(sizes: list[int]) -> None:
    given_pieces = pieces(*sizes)

    grouped = groups(given_pieces)

    assert [piece for group in grouped for piece in group] == given_pieces
    assert all(len(join_plan(group)) <= S3["max_parts"] for group in grouped)


def test_a_list_that_can_be_joined_at_once_is_one_group() -> None:
    assert len(groups(pieces(*[5 * MIB] * 10_000))) == 1


@given(st.lists(st.binary(max_size=300), max_size=6))
def test_the_crc_of_a_join_is_that_of_the_bytes(contents: list[bytes]) -> None:
    made = [StoredObject(key="k", size=len(one), crc32=zlib.crc32(one)) for one in contents]

    assert joined_crc32(made) == zlib.crc32(b"".join(contents))


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_crcs_combine_as_zlibs_do(first: bytes, second: bytes) -> None:
    combined = crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second))

    assert combined == zlib.crc32(first + second)


def test_crcs_of_sizes_beyond_memory_combine_one_by_one() -> None:
    """Combining is associative: a terabyte of one byte more is a terabyte, and one byte more."""
    terabyte = 1 << 40
    left = crc32_combine(crc32_combine(1, 2, terabyte), zlib.crc32(b"x"), 1)
    right = crc32_combine(1, crc32_combine(2, zlib.crc32(b"x"), 1), terabyte + 1)

    assert left == right
