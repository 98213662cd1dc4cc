"""The time format of this project: UTC, ISO 8601 with milliseconds, so that text sorts by time."""

from datetime import UTC, datetime, timedelta


def now() -> datetime:
    """Return the current time, in UTC. Tests replace this clock."""
    return datetime.now(UTC)


def text(moment: datetime) -> str:
    """Format a time: ``2026-11-23T20:54:10.123Z``, always 24 characters."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(written: str) -> datetime:
    """Parse a time that `text` or the API wrote."""
    return datetime.fromisoformat(written)


def after(moment: datetime, seconds: float) -> str:
    """Format the time this many seconds later, or earlier if negative."""
    return text(moment + timedelta(seconds=seconds))


def epoch(moment: datetime) -> int:
    """Return the time in whole seconds since 1970, the format of the table's `expires`."""
    return int(moment.timestamp())
