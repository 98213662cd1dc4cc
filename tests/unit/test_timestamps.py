"""Timestamps as text."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from functions.model import timestamps

zones = st.builds(
    lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60)
)
moments = st.datetimes(datetime(2000, 1, 2), datetime(2199, 1, 1), timezones=zones)  # noqa: DTZ001 - hypothesis adds the zone


@given(moments, moments)
def test_text_order_is_time_order(first: datetime, second: datetime) -> None:
    if abs(first - second) >= timedelta(milliseconds=1):
        assert (timestamps.text(first) < timestamps.text(second)) is (first < second)


@given(moments)
def test_a_timestamp_is_parsed_to_the_millisecond(moment: datetime) -> None:
    written = timestamps.text(moment)

    assert len(written) == 24
    assert timedelta() <= moment - timestamps.parse(written) < timedelta(milliseconds=1)


@given(moments, st.integers(-(10**6), 10**6))
def test_after_adds_seconds(moment: datetime, seconds: int) -> None:
    assert timestamps.after(moment, seconds) == timestamps.text(
        moment + timedelta(seconds=seconds)
    )


def test_a_timestamp_is_written_in_utc() -> None:
    local_time = datetime(2026, 11, 23, 22, 54, 10, 123456, tzinfo=timezone(timedelta(hours=2)))

    assert timestamps.text(local_time) == "2026-11-23T20:54:10.123Z"


def test_a_timestamp_of_the_api_is_parsed() -> None:
    read = timestamps.parse("2024-09-24T18:37:24.100435Z")

    assert read == datetime(2024, 9, 24, 18, 37, 24, 100435, tzinfo=UTC)


def test_now_is_in_utc() -> None:
    assert timestamps.now().utcoffset() == timedelta()
