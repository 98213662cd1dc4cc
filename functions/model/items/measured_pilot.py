"""What the pilot of a job used: its first rows, which are sent alone to see what the others will cost."""

import msgspec

MAX_FAILED_SHARE = 0.1
"""The rest is sent automatically only if a smaller share of the pilot's rows failed."""


class Pilot(msgspec.Struct, frozen=True, kw_only=True):
    """What the pilot of a job used.

    Attributes:
        rows: its rows, rejected ones included.
        sent: the rows that were sent.
        succeeded: the rows with an answer.
        errors: error type, ``canceled`` or ``expired`` → rows.
        truncated: the answers that ended because no token was left.
        input_tokens: those of all answers, cached ones included.
        output_tokens: likewise.
        cost_micro_usd: what it cost; None if a part of that is unknown.
        rest_rows: the rows that can still be sent; without copies, which cost nothing.
    """

    rows: int
    sent: int
    succeeded: int
    errors: dict[str, int]
    truncated: int
    input_tokens: int
    output_tokens: int
    cost_micro_usd: int | None
    rest_rows: int

    @property
    def input_tokens_per_answer(self) -> float | None:
        """The input tokens of an answer on average; None without answers."""
        return round(self.input_tokens / self.succeeded, 1) if self.succeeded else None

    @property
    def output_tokens_per_answer(self) -> float | None:
        """The output tokens of an answer on average; None without answers."""
        return round(self.output_tokens / self.succeeded, 1) if self.succeeded else None

    @property
    def rest_micro_usd(self) -> int | None:
        """What the rest costs if each of its rows costs as much as a row of the pilot; None if that is unknown."""
        if self.cost_micro_usd is None or not self.sent:
            return None
        return round(self.cost_micro_usd * self.rest_rows / self.sent)

    def may_go_on(self, budget_micro_usd: int | None) -> bool:
        """Return whether the rest may be sent without asking: few rows failed, and all fits the budget."""
        if not self.sent or self.sent - self.succeeded >= MAX_FAILED_SHARE * self.sent:
            return False
        if budget_micro_usd is None:
            return True
        rest = self.rest_micro_usd
        return rest is not None and (self.cost_micro_usd or 0) + rest <= budget_micro_usd
