"""Which days the ledger is checked for, and when the next check is due."""

from datetime import UTC, datetime

import pytest

from functions.model.usage_comparison import is_due, periods


@pytest.mark.parametrize(
    ("now", "before", "present"),
    [
        ("2026-11-27T19:00", ("2026-10-01", "2026-10-31"), ("2026-11-01", "2026-11-26")),
        ("2026-11-02T01:00", ("2026-10-01", "2026-10-31"), ("2026-11-01", "2026-11-01")),
        # On the first of a month, its month has no whole day yet.
        ("2026-11-01T01:00", ("2026-09-01", "2026-09-30"), ("2026-10-01", "2026-10-31")),
        # A day is over for the report an hour after its end.
        ("2026-11-01T00:59", ("2026-09-01", "2026-09-30"), ("2026-10-01", "2026-10-30")),
        ("2027-01-05T12:00", ("2026-12-01", "2026-12-31"), ("2027-01-01", "2027-01-04")),
        ("2028-03-01T12:00", ("2028-01-01", "2028-01-31"), ("2028-02-01", "2028-02-29")),
    ],
)
def test_whole_days_of_two_months_are_compared(
    now: str, before: tuple[str, str], present: tuple[str, str]
) -> None:
    found = periods(datetime.fromisoformat(now).replace(tzinfo=UTC))

    assert [(period.days[0], period.days[-1]) for period in found] == [before, present]
    assert [period.month for period in found] == [before[0][:7], present[0][:7]]


@pytest.mark.parametrize(
    ("checked_at", "now", "due"),
    [
        (None, "2026-11-27T12:00:00.000Z", True),
        ("2026-11-27T01:00:00.000Z", "2026-11-28T00:59:59.000Z", False),
        ("2026-11-27T01:00:00.000Z", "2026-11-28T01:00:00.000Z", True),
        ("2026-11-28T00:30:00.000Z", "2026-11-28T01:00:00.000Z", True),
        ("2026-11-27T20:00:00.000-05:00", "2026-11-28T02:00:00.000Z", False),
    ],
)
def test_a_check_is_due_once_for_each_day(*, checked_at: str | None, now: str, due: bool) -> None:
    assert is_due(checked_at, datetime.fromisoformat(now)) == due
