"""The figures of one campaign: a line of docs/reliability.md."""

from dataclasses import dataclass, field


@dataclass
class Figures:
    """Counts of one campaign.

    Attributes:
        campaign: Its name in the table.
        calls: Calls of the baseline run, if faults are injected at calls; else 0.
        tried: Runs, each with its own disturbance; for fuzzing, inputs.
        killed_twice: Different pairs of kills of which both happened.
        recovered: Runs whose job ended completely.
        billed: Rows that Anthropic answered and billed.
        undelivered: Billed rows whose answer is not in the results.
        rows_lost: Rows with no line, or with more than one.
        paid_twice: Requests that were accepted again although this could be avoided.
        duplicates: Requests that were accepted again because a create outlived its lease, which
            cannot be avoided; the newer batch was flagged and canceled.
        longest_ticks: The most polls that a run needed.
        seconds: Duration of the campaign.
        violations: What did not hold, each with how to reproduce it.
    """

    campaign: str
    calls: int = 0
    tried: int = 0
    killed_twice: int = 0
    recovered: int = 0
    billed: int = 0
    undelivered: int = 0
    rows_lost: int = 0
    paid_twice: int = 0
    duplicates: int = 0
    longest_ticks: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)
