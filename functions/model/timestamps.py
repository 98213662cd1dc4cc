"""Times as this project writes them: UTC, ISO 8601 with milliseconds, so that text order is time order."""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """Give the time, in UTC: the clock of everything but tests."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """Write a time: ``2026-11-23T20:54:10.123Z``, always 24 characters."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(written: str) -> datetime:
    """Read a time that `text` or the API wrote."""
    return datetime.fromisoformat(written)


def after(moment: datetime, seconds: float) -> str:
    """Write the time this many seconds later (earlier, where negative)."""
    return text(moment + timedelta(seconds=seconds))


def epoch(moment: datetime) -> int:
    """Return the time as the table's `expires` has it: whole seconds since 1970."""
    return int(moment.timestamp())
