"""Format numbers, money and times for the report."""

from collections.abc import Iterator, Mapping
from datetime import UTC

from functions.model import timestamps
from functions.report.html import Html, element

LATENCIES = (
    *((60, "under 1 min"), (120, "1 to 2 min"), (300, "2 to 5 min"), (600, "5 to 10 min"), (1800, "10 to 30 min")),
    *((3600, "30 to 60 min"), (7200, "1 to 2 h"), (14_400, "2 to 4 h"), (28_800, "4 to 8 h"), (57_600, "8 to 16 h")),
)  # fmt: skip
"""Upper bounds in seconds, and their names."""
LONGEST = "over 16 h"
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_THOUSAND, _CENT = 1000, 0.01


def usd(amount: float | None) -> str:
    """Return an amount of US dollars; ``unknown`` without one. Small ones get more digits."""
    if amount is None:
        return "unknown"
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    digits = 2 if size >= 1 or not size else 4 if size >= _CENT else 6
    return f"{sign}${size:,.{digits}f}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``1 h 04 min``."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR:02} h"


def seconds_between(begin: str | None, end: str | None) -> float | None:
    """Return the seconds from one time to another; None if one did not happen."""
    if begin is None or end is None:
        return None
    return (timestamps.parse(end) - timestamps.parse(begin)).total_seconds()


def elapsed_element(begin: str | None, end: str | None) -> Html:
    """Return the duration between two times, as an element."""
    seconds = seconds_between(begin, end)
    if seconds is None:
        return element("time", "none")
    return element("time", duration(seconds), datetime=f"PT{max(round(seconds), 0)}S")


def time_element(time: str | None) -> Html:
    """Return a time for people, in UTC, as an element."""
    if time is None:
        return element("time", "none")
    shown = timestamps.parse(time).astimezone(UTC).strftime("%d %b %Y, %H:%M:%S UTC")
    return element("time", shown, datetime=time)


def size_bytes(size: int) -> str:
    """Return a size: ``1.2 MB``."""
    amount, units = float(size), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= _THOUSAND and unit != "TB":
        amount, unit = amount / _THOUSAND, next(units)
    return f"{amount:,.0f} B" if unit == "B" else f"{amount:,.1f} {unit}"


def size_ranges(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the ranges of a distribution with their counts, from the smallest to the largest that occur.

    Args:
        counts: binary digits of a number of tokens → how many such numbers occur.
    """
    digits = sorted(map(int, counts))
    for number in range(digits[0], digits[-1] + 1) if digits else ():
        low, high = (1 << number) >> 1, (1 << number) - 1
        name = f"{low:,}" if low >= high else f"{low:,} to {high:,}"
        yield name, counts.get(str(number), 0)


def median_below(counts: Mapping[str, int]) -> int:
    """Return a power of two of which half of the numbers are below; the smallest one."""
    passed, half = 0, sum(counts.values()) / 2
    for number in sorted(map(int, counts)):
        passed += counts[str(number)]
        if passed >= half:
            return 1 << number
    return 0
