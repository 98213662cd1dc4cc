"""The check of the ledger against Anthropic's usage report: for each month a line with our figures and theirs.

Both sides have whole days only, because a day that is not over would always differ. The month before is checked
again each day, because a job is booked when it ends, and Anthropic books its answers earlier.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from functions.model import timestamps
from functions.model.cost_ledger import TOKEN_KINDS
from functions.model.nouns import count_of

DELAY = timedelta(hours=1)
"""A day is checked this long after its end. The report is usually five minutes late, sometimes more."""
_DAY = timedelta(days=1)
_USD_PRECISION = Decimal("0.0001")
"""Figures are rounded to this, in US dollars, because the ledger has each job's cost rounded to a millionth."""
_FIGURES = ("usd", *(f"{kind}_tokens" for kind in TOKEN_KINDS))
COLUMNS = (
    "month", "through", "workspace", "jobs",
    *(f"{side}_{figure}" for figure in _FIGURES for side in ("ours", "theirs", "difference")), "notes", "checked_at",
)  # fmt: skip


@dataclass(frozen=True)
class Period:
    """The days of a month that are compared: from its first one to the day before `end`, in UTC."""

    start: date
    end: date

    @property
    def month(self) -> str:
        """The month: ``2026-11``."""
        return f"{self.start:%Y-%m}"

    @property
    def days(self) -> list[str]:
        """The days: ``2026-11-01`` and so on."""
        return [f"{self.start + number * _DAY}" for number in range((self.end - self.start).days)]


@dataclass
class Figures:
    """What batches used and cost.

    Attributes:
        usd: the cost in US dollars.
        tokens: kind of `TOKEN_KINDS` → tokens.
        jobs: the jobs of the ledger.
        notes: why the figures cannot be compared as they are, each a phrase.
    """

    usd: Decimal = Decimal(0)
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKEN_KINDS, 0))
    jobs: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, usd: Decimal, **tokens: int) -> None:
        """Add a cost, and tokens by kind."""
        self.usd += usd
        for kind, count in tokens.items():
            self.tokens[kind] += count


def is_due(checked_at: str | None, now: datetime) -> bool:
    """Return whether another day has ended since the last check; True if there was none."""
    return checked_at is None or _current_day(timestamps.parse(checked_at)) != _current_day(now)


def periods(now: datetime) -> tuple[Period, Period]:
    """Return the days to compare, in the month of yesterday and in the month before it."""
    today = _current_day(now)
    this_month = (today - _DAY).replace(day=1)
    month_before = (this_month - _DAY).replace(day=1)
    return Period(month_before, this_month), Period(this_month, today)


def _current_day(now: datetime) -> date:
    return (now.astimezone(UTC) - DELAY).date()


def sum_ledger(lines: Iterable[Mapping[str, str]]) -> Figures:
    """Add up lines of the ledger, by its columns."""
    ours, unknown = Figures(), 0
    for line in lines:
        tokens = {kind: int(line[f"{kind}_tokens"]) for kind in TOKEN_KINDS}
        ours.add(Decimal(line["cost_usd_known"]), **tokens)
        ours.jobs += 1
        unknown += not line["cost_usd"]
    if unknown:
        ours.notes.append(f"ours excludes the unknown parts of {count_of(unknown, 'job')}")
    return ours


def check_line(
    period: Period, ours: Figures, theirs: Figures, workspace: str, checked_at: str
) -> tuple[str, ...]:
    """Return the cells of a month's line, in the order of `COLUMNS`.

    Args:
        period: the days that are compared.
        ours: the figures of the ledger.
        theirs: those of the report.
        workspace: the workspace that theirs are limited to; empty for the whole organization.
        checked_at: the time of the check.
    """
    notes = [*ours.notes, *theirs.notes]
    if not workspace:
        notes.insert(
            0, "theirs includes all batches of the organization: set workspaceId to limit it"
        )
    usd = _compare(ours.usd.quantize(_USD_PRECISION), theirs.usd.quantize(_USD_PRECISION))
    tokens = [_compare(ours.tokens[kind], theirs.tokens[kind]) for kind in TOKEN_KINDS]
    return (
        *(period.month, period.days[-1], workspace, str(ours.jobs)),
        *(str(figure) for figures in (usd, *tokens) for figure in figures),
        "; ".join(notes),
        checked_at,
    )


def _compare[N: (int, Decimal)](ours: N, theirs: N) -> tuple[N, N, N]:
    return ours, theirs, theirs - ours
