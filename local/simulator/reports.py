"""The usage and the cost report of the organization, from what the simulator bills. Only an admin key may read them.

Sources: https://platform.claude.com/docs/en/api/admin/usage_report/retrieve_messages,
https://platform.claude.com/docs/en/api/admin/cost_report and
https://platform.claude.com/docs/en/manage-claude/usage-cost-api (November 2026): parameters, limits, shapes, the default
workspace as null, costs in cents as decimal text, searches without a service tier, and figures that are five minutes
late. They do not say which day an answer belongs to; here, it is the one on which its batch ended.
"""

import base64
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from local.simulator.bill import read_message
from local.simulator.errors import invalid
from local.simulator.http import Call
from local.simulator.simulator import Simulator
from local.simulator.standard_prices import micro_usd_by_kind

DELAY_S = 300.0
"""The time after which the end of a batch shows in the reports, in seconds."""
_MICRO_USD_PER_CENT = 10_000
_WIDE_PROMPT_TOKENS = 200_000
_USAGE_GROUPS = ("workspace_id", "model", "service_tier", "context_window")
_COST_GROUPS = ("workspace_id", "description")
_FILTERS = {
    "workspace_ids[]": "workspace_id", "models[]": "model", "service_tiers[]": "service_tier",
    "context_window[]": "context_window",
}  # fmt: skip
_NO_TIME = datetime.fromisoformat("1970-01-01")
_PLAIN = {"starting_at", "ending_at", "bucket_width", "limit", "page"}


class _Width(NamedTuple):
    """A width of buckets: its seconds, and how many buckets a page has by default and at most."""

    seconds: int
    default: int
    most: int


_WIDTHS = {"1m": _Width(60, 60, 1440), "1h": _Width(3600, 24, 168), "1d": _Width(86_400, 7, 31)}


class _Answer(msgspec.Struct):
    """A billed answer: when its batch ended, and what it used."""

    ended_s: float
    model: str
    usage: dict[str, Any]
    dimensions: dict[str, str | None]


@dataclass(frozen=True)
class _Query:
    """The parameters of a report.

    Attributes:
        buckets: the starts of the buckets of this page, in seconds since 1970.
        next_page: the token of the next page; None for the last one.
    """

    width_s: int
    buckets: range
    next_page: str | None
    groups: frozenset[str]
    filters: Mapping[str, frozenset[str]]

    def has(self, answer: _Answer) -> bool:
        return all(answer.dimensions[name] in allowed for name, allowed in self.filters.items())


def usage_report(simulator: Simulator, call: Call) -> dict[str, object]:
    """Return the tokens that were used, by time and by the dimensions of ``group_by[]``.

    Raises:
        ApiError: a parameter is missing, unknown or out of range.
    """
    query = _parse(simulator, call, _USAGE_GROUPS, _FILTERS, _WIDTHS)
    sums = defaultdict[tuple[int, tuple[str | None, ...]], Counter[str]](Counter)
    for start, answer in _answers(simulator, query):
        group = tuple(_shown(answer, name, query) for name in _USAGE_GROUPS)
        sums[start, group].update(_tokens(answer.usage))
    results = defaultdict[int, list[object]](list)
    for (start, group), tokens in sums.items():
        results[start].append(_usage_row(dict(zip(_USAGE_GROUPS, group, strict=True)), tokens))
    return _page(query, results)


def cost_report(simulator: Simulator, call: Call) -> dict[str, object]:
    """Return the costs in cents, by day and by the dimensions of ``group_by[]``.

    Raises:
        ApiError: a parameter is missing, unknown or out of range.
    """
    query = _parse(simulator, call, _COST_GROUPS, {}, {"1d": _WIDTHS["1d"]})
    sums = defaultdict[tuple[int, tuple[str | None, ...]], Fraction](Fraction)
    for start, answer in _answers(simulator, query):
        day = f"{datetime.fromtimestamp(start, UTC):%Y-%m-%d}"
        costs = micro_usd_by_kind(answer.model, answer.usage, day) or {}
        for kind, micro_usd in costs.items():
            if micro_usd:
                workspace = _shown(answer, "workspace_id", query)
                sums[start, (workspace, *_description(answer, kind, query))] += micro_usd
    results = defaultdict[int, list[object]](list)
    for (start, dimensions), micro_usd in sums.items():
        results[start].append(_cost_row(dimensions, micro_usd))
    return _page(query, results)


def _answers(simulator: Simulator, query: _Query) -> Iterator[tuple[int, _Answer]]:
    """Yield the answers that are billed to the organization, each with the start of its bucket."""
    now_s = simulator.clock()
    for batch in simulator.all_batches():
        ended_s = batch.end_time_s()
        start = int(ended_s) // query.width_s * query.width_s
        if ended_s > now_s - DELAY_S or start not in query.buckets:
            continue
        workspace = None if batch.workspace == "default" else batch.workspace
        for line in batch.billed_lines(now_s):
            message = read_message(line)
            wide = _prompt_tokens(message.usage) > _WIDE_PROMPT_TOKENS
            dimensions = {
                "workspace_id": workspace, "model": message.model, "service_tier": "batch",
                "context_window": "200k-1M" if wide else "0-200k",
            }  # fmt: skip
            answer = _Answer(ended_s, message.model, message.usage, dimensions)
            if query.has(answer):
                yield start, answer


def _tokens(usage: Mapping[str, Any]) -> dict[str, int]:
    """Return what an answer used, by the names of the report."""
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens", 0)
    return {
        "uncached_input_tokens": usage["input_tokens"],
        "ephemeral_1h_input_tokens": hour,
        "ephemeral_5m_input_tokens": (usage.get("cache_creation_input_tokens") or 0) - hour,
        "cache_read_input_tokens": usage.get("cache_read_input_tokens") or 0,
        "output_tokens": usage["output_tokens"],
        "web_search_requests": (usage.get("server_tool_use") or {}).get("web_search_requests", 0),
    }


def _prompt_tokens(usage: Mapping[str, Any]) -> int:
    cached = (usage.get("cache_creation_input_tokens") or 0, usage.get("cache_read_input_tokens") or 0)  # fmt: skip
    return int(usage["input_tokens"]) + sum(cached)


def _shown(answer: _Answer, dimension: str, query: _Query) -> str | None:
    return answer.dimensions[dimension] if dimension in query.groups else None


def _usage_row(group: Mapping[str, str | None], tokens: Counter[str]) -> dict[str, object]:
    return {
        "api_key_id": None,
        **group,
        "uncached_input_tokens": tokens["uncached_input_tokens"],
        "cache_creation": {
            name: tokens[name]
            for name in ("ephemeral_1h_input_tokens", "ephemeral_5m_input_tokens")
        },
        "cache_read_input_tokens": tokens["cache_read_input_tokens"],
        "output_tokens": tokens["output_tokens"],
        "server_tool_use": {"web_search_requests": tokens["web_search_requests"]},
    }


_DESCRIBED = ("description", "cost_type", "model", "service_tier", "token_type", "context_window")


def _description(answer: _Answer, kind: str, query: _Query) -> tuple[str | None, ...]:
    """Return the values of `_DESCRIBED`: all null without ``group_by[]=description``; a search has no model and tier."""
    if "description" not in query.groups:
        return (None,) * len(_DESCRIBED)
    if kind == "web_search":
        return "Web Search Usage", "web_search", None, None, None, None
    window = answer.dimensions["context_window"]
    description = f"{answer.model} Usage, Batch - {kind}"
    return description, "tokens", answer.model, "batch", kind, window


def _cost_row(dimensions: tuple[str | None, ...], micro_usd: Fraction) -> dict[str, object]:
    cents = micro_usd / _MICRO_USD_PER_CENT
    amount = Decimal(cents.numerator) / Decimal(cents.denominator)
    names = ("workspace_id", *_DESCRIBED)
    return {"amount": f"{amount:f}", "currency": "USD"} | dict(zip(names, dimensions, strict=True))


def _page(query: _Query, results: Mapping[int, list[object]]) -> dict[str, object]:
    return {
        "data": [
            {
                "starting_at": _timestamp(start),
                "ending_at": _timestamp(start + query.width_s),
                "results": results.get(start, []),
            }
            for start in query.buckets
        ],
        "has_more": query.next_page is not None,
        "next_page": query.next_page,
    }


def _parse(
    simulator: Simulator,
    call: Call,
    groups: Sequence[str],
    filters: Mapping[str, str],
    widths: Mapping[str, _Width],
) -> _Query:
    """Parse the parameters of a report that has these groups, filters and widths.

    Raises:
        ApiError: a parameter is missing, unknown or out of range.
    """
    given = {name for name, _ in call.parameters}
    chosen = frozenset(value for name, value in call.parameters if name == "group_by[]")
    name = call.query.get("bucket_width", "1d")
    _reject(f"{name}: Extra inputs are not permitted"
            for name in given - _PLAIN - filters.keys() - {"group_by[]"})  # fmt: skip
    _reject(f"group_by: {name!r} is not one of {', '.join(groups)}" for name in chosen - {*groups})
    _reject(f"bucket_width: {name!r} is not a width of this report" for name in {name} - {*widths})
    buckets, stop_s = _buckets(call, widths[name], simulator.clock())
    return _Query(
        width_s=buckets.step,
        buckets=buckets,
        next_page=_token(buckets.stop) if buckets.stop < stop_s else None,
        groups=chosen,
        filters={
            dimension: frozenset(value for key, value in call.parameters if key == name)
            for name, dimension in filters.items()
            if name in given
        },
    )


def _reject(problems: Iterable[str]) -> None:
    for problem in sorted(problems):
        raise invalid(problem)


def _buckets(call: Call, width: _Width, now_s: float) -> tuple[range, int]:
    """Return the starts of this page's buckets, and where the last page stops: with the current bucket at most."""
    start_s = _floor(_moment(call, "starting_at"), width)
    stop_s = _floor(now_s, width) + width.seconds
    if "ending_at" in call.query:
        stop_s = min(stop_s, _floor(_moment(call, "ending_at"), width))
    if "page" in call.query:
        start_s = _page_start(call.query["page"])
    page_stop_s = min(stop_s, start_s + _limit(call, width) * width.seconds)
    return range(start_s, page_stop_s, width.seconds), stop_s


def _floor(time_s: float, width: _Width) -> int:
    return int(time_s) // width.seconds * width.seconds


def _limit(call: Call, width: _Width) -> int:
    text = call.query.get("limit", str(width.default))
    limit = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else 0
    if not 1 <= limit <= width.most:
        message = f"limit: Input should be an integer from 1 to {width.most}"
        raise invalid(message)
    return limit


def _moment(call: Call, name: str) -> float:
    try:
        moment = datetime.fromisoformat(call.query.get(name, ""))
    except ValueError:
        moment = _NO_TIME
    if moment.tzinfo is None:
        message = f"{name}: Input should be a time in RFC 3339, with its zone"
        raise invalid(message)
    return moment.timestamp()


def _token(start_s: int) -> str:
    return f"page_{base64.urlsafe_b64encode(_timestamp(start_s).encode()).decode()}"


def _page_start(token: str) -> int:
    try:
        text = base64.urlsafe_b64decode(token.removeprefix("page_")).decode()
        return int(datetime.fromisoformat(text).timestamp())
    except ValueError:
        message = "page: Input should be the next_page of an earlier answer"
        raise invalid(message) from None


def _timestamp(time_s: int) -> str:
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%dT%H:%M:%SZ}"
