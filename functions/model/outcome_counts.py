"""Counting a chunk's rows by outcome, error and stop reason, and its tokens by model."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from functions.model.api_results import MessageUsage, Outcome
from functions.model.items import OutcomeCounts, Usage
from functions.model.pricing import long_prompt_limit

NAMES, MAX_NAME_CHARS = 50, 100
"""Distinct names per count, and characters per name: the counts must fit into a DynamoDB item."""
OTHER = "other"

_WITH_ERROR = frozenset({"errored", "rejected"})
_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "cache_read_input_tokens",
)


class OutcomeCounter:
    """Counts outcomes and tokens as results pass.

    Args:
        prices: the version of the price list that defines long prompts; None for the newest.
    """

    def __init__(self, prices: str | None = None) -> None:
        self._prices = prices
        self._outcomes, self._errors, self._stops = Counter[str](), Counter[str](), Counter[str]()
        self._usage: dict[str, list[int]] = defaultdict(lambda: [0] * 2 * len(_TOKENS))

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count rows. Counting column by column takes half the time of counting row by row."""
        messages = [outcome.message for outcome in outcomes if outcome.message is not None]
        _count([outcome.type for outcome in outcomes], self._outcomes)
        _count([message.stop_reason or "none" for message in messages], self._stops)
        errors = [outcome.error_type for outcome in outcomes if outcome.type in _WITH_ERROR]
        _count(errors, self._errors)
        used = defaultdict[str, list[MessageUsage]](list)
        for message in messages:
            used[message.model].append(message.usage)
        for model, usages in used.items():
            self._count_tokens(model, usages)

    def _count_tokens(self, model: str, usages: Sequence[MessageUsage]) -> None:
        above = long_prompt_limit(model, self._prices)
        short, long = usages, list[MessageUsage]()
        if above is not None:
            short = [used for used in usages if used.prompt_tokens <= above]
            long = [used for used in usages if used.prompt_tokens > above]
        sums = self._usage[_counted_name(model, self._usage)]
        for index, tokens in enumerate((*_sums(short), *_sums(long))):
            sums[index] += tokens

    def tally(self) -> OutcomeCounts:
        """Return the counts so far."""
        names = (*_TOKENS, *("long_" + name for name in _TOKENS))
        return OutcomeCounts(
            outcomes=dict(self._outcomes),
            errors=dict(self._errors),
            stops=dict(self._stops),
            usage={
                model: msgspec.convert(dict(zip(names, sums, strict=True)), Usage)
                for model, sums in self._usage.items()
            },
        )


def _count(names: Sequence[str], counts: Counter[str]) -> None:
    for name, times in Counter(names).items():
        counts[_counted_name(name, counts)] += times


def _sums(usages: Sequence[MessageUsage]) -> tuple[int, int, int, int, int]:
    """Return the sum of each kind of token, in the order of `_TOKENS`."""
    creations = [used.cache_creation for used in usages if used.cache_creation is not None]
    hour = sum([creation.ephemeral_1h_input_tokens or 0 for creation in creations])
    return (
        sum([used.input_tokens or 0 for used in usages]),
        sum([used.output_tokens or 0 for used in usages]),
        sum([used.cache_creation_input_tokens or 0 for used in usages]) - hour,
        hour,
        sum([used.cache_read_input_tokens or 0 for used in usages]),
    )


def _counted_name(name: str, counted: Mapping[str, object]) -> str:
    """Return the name to count under: the name itself, or ``other`` if it is too long or one too many."""
    if name in counted:
        return name
    fits = 0 < len(name) <= MAX_NAME_CHARS and len(counted) < NAMES
    return name if fits else OTHER


def total(tallies: list[OutcomeCounts]) -> OutcomeCounts:
    """Return the sum of the counts of several chunks."""
    sums = [Counter[str](), Counter[str](), Counter[str]()]
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    for tally in tallies:
        for counts, more in zip(sums, (tally.outcomes, tally.errors, tally.stops), strict=True):
            counts.update(more)
        for model, used in tally.usage.items():
            usage[model].update(msgspec.to_builtins(used))
    outcomes, errors, stops = (
        {name: counter[name] for name in sorted(counter)} for counter in sums
    )
    models = {model: msgspec.convert(dict(usage[model]), Usage) for model in sorted(usage)}
    return OutcomeCounts(outcomes=outcomes, errors=errors, stops=stops, usage=models)
