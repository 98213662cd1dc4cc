"""Counting a chunk's rows by outcome, error and stop reason, and by model what they used."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from functions.model.api_results import (
    MAX_COUNT,
    CacheCreation,
    Message,
    OddMessage,
    Outcome,
    PlainMessage,
    PlainUsage,
    TokenUsage,
    count_empty,
)
from functions.model.items.batch import Batch, CloseReason
from functions.model.items.counts import (
    CONTAINER,
    DUPLICATE_ROWS,
    LOST_ROWS,
    UNKNOWN_RESULT_ROWS,
    UNREADABLE_ROWS,
    OutcomeCounts,
    Usage,
)
from functions.model.pricing import long_prompt_limit

NAMES, MAX_NAME_CHARS = 50, 100
"""Distinct names per count, and characters per name: the counts must fit into a DynamoDB item."""
MEMBERS = 30
"""Distinct names per model of what it used. Its tokens are always counted."""
MAX_DEPTH = 10
"""Levels of `usage` that are counted. A deeper one is treated as unreadable."""
OTHER = "other"
NO_MODEL = "unknown"

_WITH_ERROR = frozenset({"errored", "rejected"})
_KNOWN_OUTCOMES = frozenset({"succeeded", "errored", "canceled", "expired", "rejected"})
_USUAL_PROPERTIES = frozenset(
    {"service_tier=batch", "speed=standard", "inference_geo=global", "inference_geo=not_available"}
)
"""Properties of a batch's requests that change no price. They are not counted."""
_IN_US = "inference_geo=us"
_TOKEN_MEMBERS = frozenset(
    {
        *(
            "input_tokens",
            "output_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
        ),
        *(f"cache_creation.{name}" for name in CacheCreation.__struct_fields__),
    }
)


class _Tokens(NamedTuple):
    """Tokens under the names of `Usage`."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int
    cache_creation_1h_input_tokens: int
    cache_read_input_tokens: int

    @property
    def prompt(self) -> int:
        """The tokens of the prompt, cached ones included."""
        return sum(self) - self.output_tokens


_ALWAYS_COUNTED = frozenset(
    {
        *_Tokens._fields,
        *("long_" + name for name in _Tokens._fields),
        UNREADABLE_ROWS,
        UNKNOWN_RESULT_ROWS,
    }
)
_OWN_MEMBERS = (_ALWAYS_COUNTED - _TOKEN_MEMBERS) | {CONTAINER, LOST_ROWS, DUPLICATE_ROWS}
"""Names of `Usage` that are built here. The API has no members of these names."""


_OWN_ERRORS = frozenset(CloseReason)
"""Always counted by name: by these, rows are found that may be billed although their results are lost."""


class OutcomeCounter:
    """Counts outcomes and usage as results pass.

    Args:
        prices: the version of the price list that defines long prompts; None for the newest.
    """

    def __init__(self, prices: str | None = None) -> None:
        self._prices = prices
        self._outcomes, self._errors, self._stops = Counter[str](), Counter[str](), Counter[str]()
        self._usage: dict[str, Counter[str]] = defaultdict(Counter)
        self._empty_answers = 0
        self._input_sizes, self._output_sizes = Counter[int](), Counter[int]()

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count rows and what they used. Counting column by column takes half the time of counting row by row."""
        self.add_rows(outcomes)
        self.add_usage(outcomes)

    def add_rows(self, outcomes: Sequence[Outcome]) -> None:
        """Count rows only: what they used is counted elsewhere, or was never used."""
        messages = [outcome.message for outcome in outcomes if outcome.message is not None]
        types = Counter([outcome.type for outcome in outcomes])
        _count(types, self._outcomes)
        _count(Counter([message.stop_reason or "none" for message in messages]), self._stops)
        self._empty_answers += count_empty(messages)
        if types.keys() & _WITH_ERROR:
            errors = [outcome.error_type for outcome in outcomes if outcome.type in _WITH_ERROR]
            _count(Counter(errors), self._errors)

    def add_usage(self, outcomes: Sequence[Outcome]) -> None:
        """Count only what rows used."""
        messages = [outcome.message for outcome in outcomes if outcome.message is not None]
        for model, answers in _by_model(messages).items():
            self._count_usage(model, answers)
        types = Counter([outcome.type for outcome in outcomes])
        if types.keys() != {"succeeded"} or len(messages) < len(outcomes):
            self._count_unknown(outcomes, types)

    def add_lost(self) -> None:
        """Count a request that may have been billed although its result was never received."""
        self._usage[_counted_name(NO_MODEL, self._usage)].update({LOST_ROWS: 1})

    def _count_usage(self, model: str, messages: Sequence[Message]) -> None:
        used = self._usage[_counted_name(model, self._usage)]
        above = long_prompt_limit(model, self._prices)
        plain = [message.usage for message in messages if isinstance(message, PlainMessage)]
        if plain:
            _count_plain(used, plain, above)
            self._count_sizes(plain)
        if len(plain) < len(messages):
            odd = [message for message in messages if isinstance(message, OddMessage)]
            _count_odd(used, odd, above)
            self._count_sizes([*filter(None, map(_tokens_of, odd))])

    def _count_sizes(self, usages: Sequence[TokenUsage]) -> None:
        self._input_sizes.update(map(int.bit_length, _prompts(usages)))
        self._output_sizes.update([usage.output_tokens.bit_length() for usage in usages])

    def _count_unknown(self, outcomes: Sequence[Outcome], types: Counter[str]) -> None:
        """Count the rows that may be billed and of which not even the model can be read."""
        rows = {
            UNREADABLE_ROWS: sum(
                row.type == "succeeded" and row.message is None for row in outcomes
            ),
            UNKNOWN_RESULT_ROWS: sum(types[name] for name in types.keys() - _KNOWN_OUTCOMES),
        }
        if any(rows.values()):
            self._usage[_counted_name(NO_MODEL, self._usage)].update(rows)

    def tally(self) -> OutcomeCounts:
        """Return the counts so far."""
        return OutcomeCounts(
            outcomes=dict(self._outcomes),
            errors=dict(self._errors),
            stops=dict(self._stops),
            usage={model: dict(+used) for model, used in self._usage.items()},
            empty_answers=self._empty_answers,
            input_sizes=_by_text(self._input_sizes),
            output_sizes=_by_text(self._output_sizes),
        )


def _by_text(sizes: Mapping[int, int]) -> dict[str, int]:
    return {str(size): sizes[size] for size in sorted(sizes)}


def _count(more: Mapping[str, int], counts: Counter[str]) -> None:
    for name, times in more.items():
        counts[_counted_name(name, counts)] += times


def _by_model(messages: Sequence[Message]) -> Mapping[str, Sequence[Message]]:
    models = {message.model for message in messages}
    if len(models) == 1:
        return {models.pop(): messages}
    by_model = defaultdict[str, list[Message]](list)
    for message in messages:
        by_model[message.model].append(message)
    return by_model


def _count_plain(used: Counter[str], usages: Sequence[PlainUsage], above: int | None) -> None:
    in_us = [usage for usage in usages if usage.inference_geo == "us"]
    if in_us:
        _add(used, _IN_US, len(in_us))
        _count_tokens(used, in_us, above, (_IN_US,))
    if len(in_us) < len(usages):
        rest = [usage for usage in usages if usage.inference_geo != "us"] if in_us else usages
        _count_tokens(used, rest, above)
    thinking = sum(
        [
            usage.output_tokens_details.thinking_tokens or 0
            for usage in usages
            if usage.output_tokens_details
        ]
    )
    _add(used, "output_tokens_details.thinking_tokens", thinking)
    tools = [usage.server_tool_use for usage in usages if usage.server_tool_use]
    searches = sum([tool.web_search_requests or 0 for tool in tools])
    _add(used, "server_tool_use.web_search_requests", searches)
    fetches = sum([tool.web_fetch_requests or 0 for tool in tools])
    _add(used, "server_tool_use.web_fetch_requests", fetches)


def _count_odd(used: Counter[str], messages: Sequence[OddMessage], above: int | None) -> None:
    """Count requests with anything unusual: their tokens by property, and each other number."""
    by_property = defaultdict[tuple[str, ...], list[TokenUsage]](list)
    for message in messages:
        tokens = _tokens_of(message)
        if tokens is None:
            _add(used, UNREADABLE_ROWS, 1)
        else:
            by_property[_properties(message.usage)].append(tokens)
    for properties, usages in by_property.items():
        _count_tokens(used, usages, above, properties)
    for name, number in _numbers("", [message.usage for message in messages]):
        if name not in _TOKEN_MEMBERS:
            _add(used, name, number)
    _add(used, CONTAINER, sum(message.container is not None for message in messages))


def _tokens_of(message: OddMessage) -> TokenUsage | None:
    try:
        return msgspec.convert(message.usage, TokenUsage)
    except msgspec.ValidationError:
        return None


def _properties(usage: Mapping[str, object]) -> tuple[str, ...]:
    """Return the properties of a request that may change the price of all its tokens: ``speed=fast``."""
    texts = [f"{name}={value}" for name, value in usage.items() if isinstance(value, str)]
    return tuple(_cut(text) for text in texts if text not in _USUAL_PROPERTIES)


def _numbers(name: str, values: Iterable[Any], depth: int = 0) -> Iterator[tuple[str, int]]:
    """Yield the sum of each number at any depth under its dotted name, and how often each property occurs."""
    by_type = defaultdict[type, list[Any]](list)
    for value in values:
        by_type[type(value)].append(value)
    yield from _own_numbers(name, by_type)
    for inner, column in _columns(name, by_type).items():
        if depth < MAX_DEPTH:
            yield from _numbers(inner, column, depth + 1)
        else:
            yield UNREADABLE_ROWS, 1


def _columns(name: str, by_type: Mapping[type, list[Any]]) -> dict[str, list[Any]]:
    """Return the values inside objects and arrays, by dotted name."""
    members = defaultdict[str, list[Any]](list)
    for value in by_type[dict]:
        for key, inner in value.items():
            members[key].append(inner)
    columns = defaultdict[str, list[Any]](list)
    for key, inners in members.items():
        columns[_dotted(name, key)] += inners
    for elements in by_type[list]:
        columns[name] += elements
    return columns


def _dotted(name: str, key: str) -> str:
    """Return the name of a member of an object. Only plain keys cannot be taken for a name that is built here."""
    dotted = f"{name}.{key}" if name else key
    return OTHER if dotted in _OWN_MEMBERS or not key.isidentifier() else _cut(dotted)


def _own_numbers(name: str, by_type: Mapping[type, list[Any]]) -> Iterator[tuple[str, int]]:
    """Yield the numbers and properties outside objects and arrays. Fractions are counted in millionths."""
    numbers = by_type[int] + by_type[float]
    believed = [number for number in numbers if 0 <= number <= MAX_COUNT]
    yield UNREADABLE_ROWS, len(numbers) - len(believed)
    yield name, sum([number for number in believed if isinstance(number, int)])
    fractions = [number for number in believed if isinstance(number, float)]
    yield f"{name}_millionths", math.ceil(sum(fractions) * 1_000_000)
    texts = by_type[str] + ["true"] * by_type[bool].count(True)
    for text, times in Counter(texts).items():
        if f"{name}={text}" not in _USUAL_PROPERTIES:
            yield _cut(f"{name}={text}"), times


def _cut(name: str) -> str:
    """Return a name of bounded length that is still too long if it was."""
    return name[: MAX_NAME_CHARS + 1]


def _count_tokens(
    used: Counter[str],
    usages: Sequence[TokenUsage],
    above: int | None,
    properties: Sequence[str] = (),
) -> None:
    """Count the tokens of requests: all at once if their price is the same, otherwise one by one."""
    tokens, adds_up = _sums(usages)
    if adds_up and (above is None or max(_prompts(usages)) <= above):
        _add_tokens(used, tokens, "", properties)
        return
    for usage in usages:
        tokens, _ = _sums([usage])
        prefix = "long_" if above is not None and tokens.prompt > above else ""
        _add_tokens(used, tokens, prefix, properties)


def _prompts(usages: Sequence[TokenUsage]) -> list[int]:
    return [
        usage.input_tokens
        + (usage.cache_creation_input_tokens or 0)
        + (usage.cache_read_input_tokens or 0)
        for usage in usages
    ]


def _sums(usages: Sequence[TokenUsage]) -> tuple[_Tokens, bool]:
    """Return the tokens of requests, and whether what they wrote to the cache is the sum over its lifetimes.

    Tokens that were written for no named lifetime count as written for 5 minutes, the default, or for an hour if those for
    5 minutes are named. If members contradict each other, the larger figure counts, so that no cost is too low.
    """
    created = [usage.cache_creation for usage in usages if usage.cache_creation]
    written = sum([usage.cache_creation_input_tokens or 0 for usage in usages])
    five = sum([creation.ephemeral_5m_input_tokens or 0 for creation in created])
    hour = sum([creation.ephemeral_1h_input_tokens or 0 for creation in created])
    names_five = any(creation.ephemeral_5m_input_tokens is not None for creation in created)
    tokens = _Tokens(
        sum([usage.input_tokens for usage in usages]),
        sum([usage.output_tokens for usage in usages]),
        five if names_five else max(written - hour, five),
        max(written - five, hour) if names_five else hour,
        sum([usage.cache_read_input_tokens or 0 for usage in usages]),
    )
    return tokens, written == five + hour


def _add_tokens(
    used: Counter[str], tokens: _Tokens, prefix: str, properties: Sequence[str]
) -> None:
    for name, number in zip(_Tokens._fields, tokens, strict=True):
        _add(used, prefix + name, number)
        for property_ in properties:
            _add(used, f"{prefix}{name}[{property_}]", number)


def _add(used: Counter[str], name: str, number: int) -> None:
    if number:
        used[_counted_member(name, used)] += number


def _counted_member(name: str, used: Mapping[str, object]) -> str:
    """Return the name to count under, which is ``other`` if it is too long, unprintable or one too many."""
    if name in used or name in _ALWAYS_COUNTED:
        return name
    fits = 0 < len(name) <= MAX_NAME_CHARS and name.isascii() and name.isprintable()
    return name if fits and len(used) < MEMBERS else OTHER


def _counted_name(name: str, counted: Mapping[str, object]) -> str:
    """Return the name to count under: the name itself, or ``other`` if it is too long or one too many."""
    if name in counted or name in _OWN_ERRORS:
        return name
    fits = 0 < len(name) <= MAX_NAME_CHARS and len(counted) < NAMES
    return name if fits else OTHER


def sum_usage(usages: Iterable[Mapping[str, Usage]]) -> dict[str, Usage]:
    """Return the sum of what each model used, by name."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for usage in usages:
        for model, used in usage.items():
            sums[model].update(used)
    return {model: dict(sums[model]) for model in sorted(sums)}


def billed_usage(batches: Iterable[Batch]) -> dict[str, Usage]:
    """Return what all attempts used, including for answers that a later attempt replaced."""
    return sum_usage(batch.tally.usage for batch in batches if batch.tally is not None)


def total(tallies: list[OutcomeCounts]) -> OutcomeCounts:
    """Return the sum of the counts of several chunks."""
    sums = [Counter[str](), Counter[str](), Counter[str]()]
    for tally in tallies:
        for counts, more in zip(sums, (tally.outcomes, tally.errors, tally.stops), strict=True):
            counts.update(more)
    outcomes, errors, stops = (
        {name: counter[name] for name in sorted(counter)} for counter in sums
    )
    usage = sum_usage(tally.usage for tally in tallies)
    return OutcomeCounts(
        outcomes=outcomes,
        errors=errors,
        stops=stops,
        usage=usage,
        empty_answers=sum(tally.empty_answers for tally in tallies),
        input_sizes=_summed([tally.input_sizes for tally in tallies]),
        output_sizes=_summed([tally.output_sizes for tally in tallies]),
    )


def _summed(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    summed = Counter[str]()
    for more in sizes:
        summed.update(more)
    return {size: summed[size] for size in sorted(summed, key=int)}
