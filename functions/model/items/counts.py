"""Counts of rows by how they ended, and of what they used."""

import msgspec

OUTCOMES = ("succeeded", "errored", "canceled", "expired", "rejected")
"""How a row may end. `Job` has a counter for each."""
TRUNCATED_STOPS = ("max_tokens", "model_context_window_exceeded")
"""The stop reasons of an answer for which no token was left."""
Usage = dict[str, int]
"""What one model used: the sum of each member of the API's `usage`, whether a price list knows it or not.

- ``input_tokens``, ``output_tokens`` and ``cache_read_input_tokens`` as the API names them;
  ``cache_creation_input_tokens`` for 5 minutes, ``cache_creation_1h_input_tokens`` for an hour.
- ``long_input_tokens`` and so on: in requests whose prompt exceeds the price list's limit. The plain name excludes them.
- ``input_tokens[inference_geo=us]`` and so on: how many of them are in requests with this property.
- ``inference_geo=us``: requests with this property. Properties that change no price are not counted.
- ``server_tool_use.web_search_requests``: any other number, at any depth; fractions as ``…_millionths``.
- The names below.
"""
CONTAINER = "container"
"""Answers that ran code."""
UNREADABLE_ROWS = "unreadable_rows"
"""Succeeded rows whose usage cannot be read."""
UNKNOWN_RESULT_ROWS = "unknown_result_rows"
"""Rows whose result has a type that the API did not have when this was written."""
LOST_ROWS = "lost_rows"
"""Rows that were sent and whose result was never received."""
DUPLICATE_ROWS = "duplicate_rows"
"""Rows that were sent in duplicates, which are canceled: once for each. Only the manifest has this."""


class OutcomeCounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rows of a chunk by outcome, by error type and by stop reason; tokens by model.

    Attributes:
        usage: what this attempt used itself; the other counts include the rows that earlier attempts answered.
        empty_answers: the rows that succeeded with neither text nor tool use.
        input_sizes: answers of this attempt by their input tokens: number of binary digits → answers.
        output_sizes: likewise by their output tokens.
    """

    outcomes: dict[str, int] = {}
    errors: dict[str, int] = {}
    stops: dict[str, int] = {}
    usage: dict[str, Usage] = {}
    empty_answers: int = 0
    input_sizes: dict[str, int] = {}
    output_sizes: dict[str, int] = {}

    @property
    def truncated(self) -> int:
        """The rows whose answer ended because no token was left."""
        return sum(self.stops.get(reason, 0) for reason in TRUNCATED_STOPS)

    @property
    def job_increments(self) -> dict[str, int]:
        """What these rows add to the counters of their job, without zeros."""
        counts = {f"collected_{name}": self.outcomes.get(name, 0) for name in OUTCOMES}
        return {name: count for name, count in counts.items() if count}
