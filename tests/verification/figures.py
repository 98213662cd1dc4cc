"""What a campaign against promises 1 and 2 has tried and seen: a line of docs/reliability.md."""

from dataclasses import dataclass, field


@dataclass
class Figures:
    """Counts of one campaign.

    Attributes:
        campaign: its name, as the table shows it.
        calls: how many calls an undisturbed run makes, where the campaign strikes at calls; else 0.
        tried: runs, each with its own trouble (for fuzzing: inputs).
        struck_twice: of these, pairs of blows of which both fell, each counted once.
        recovered: runs whose job ended whole.
        billed: rows that Anthropic answered, and billed.
        undelivered: of these, rows whose answer is not in the results.
        rows_lost: rows that had no line, or more than one.
        paid_twice: requests that were accepted again although they had been before, and need not have been.
        duplicates: requests that were accepted again because a create outlived its lease, and whose newer batch was
            flagged and canceled: nobody can avoid that, and nothing else makes it.
        longest_ticks: the most polls that a run needed to its end.
        seconds: how long the campaign took.
        broken: what did not hold, each with how to see it again.
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
