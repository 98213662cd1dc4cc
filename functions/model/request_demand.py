"""Read what requests may use from their params: tokens, and surcharges, such as cache writes and searches."""

import re
from collections.abc import Iterable, Sequence
from itertools import repeat

import msgspec

from functions.errors import UNREADABLE_JSON
from functions.model import demand
from functions.model.demand import NO_SURCHARGE, RequestDemand, Surcharge
from functions.model.pricing import PriceList, long_prompt_limit

_CACHE, _INLINE_TOOL, _DOCUMENT = b'"cache_control"', b'"tool_definition"', b'"document"'
_MEDIA = (b'"base64"', b'"url"', b'"file"')
_ADDED_PROMPTS = (b'"tools"', b'"output_config"', b'"citations"')
"""For these members, Anthropic adds a text of its own to the prompt."""
_MAY_COST_MORE = (
    *(_CACHE, b'"inference_geo"', b'"tools"', b'"output_config"'),
    *(_INLINE_TOOL, b'"mcp_servers"', b'"context_management"'),
    b'"source"',  # of an image, or of what may have citations
)
"""Every request with a surcharge contains one of these, unless the surcharge is for its length. Each is one more search."""
_RUN_BY_CALLER = ("custom", "bash_", "text_editor_", "memory_", "computer_", "browser_toolset_")
"""The types of tools, or their beginnings, that only return a call. Anthropic runs all others, in the request itself, and
bills what they return as input. No documented limit bounds that: a search may find, and a PDF may have, any length."""
ADDED_PROMPT_TOKENS, DEFINED_TOOL_TOKENS = 1_000, 8_000
"""The most tokens of a text that Anthropic adds, and of a tool that it defines and the caller runs. The longest documented
ones are 804 and 7,550 (browser_toolset_20260801): https://platform.claude.com/docs/en/about-claude/pricing"""
MAX_IMAGE_TOKENS = 4_784
"""Larger images are scaled down to this: https://platform.claude.com/docs/en/build-with-claude/vision"""
_SOURCE_TYPE = re.compile(rb'"type"\s*:\s*"(base64|url|file)"')
_IN_BASE64 = re.compile(rb'\{[^{}]*"type"\s*:\s*"base64"[^{}]*\}')
_IMAGE = re.compile(rb'"media_type"\s*:\s*"image/')
_COMPACTION = "compact_"
"""The beginning of the types of edits that summarize a long context, in a call of their own to the model."""
_USUAL_GEOS = {None, "global"}
_MAX_SEARCHES = 1_000_000
_HOUR = b'"1h"'


class _Tool(msgspec.Struct, gc=False):
    type: str | None = None
    max_uses: int | None = None


class _Edit(msgspec.Struct, gc=False):
    type: str | None = None


class _ContextManagement(msgspec.Struct, gc=False):
    edits: list[_Edit] | None = None


class _Members(msgspec.Struct, gc=False):
    tools: list[_Tool] | None = None
    inference_geo: str | None = None
    mcp_servers: list[msgspec.Raw] | None = None
    context_management: _ContextManagement | None = None


_members = msgspec.json.Decoder(_Members)


def read_requests(
    models: Sequence[str], params: Sequence[bytes], max_tokens: Sequence[int], prices: PriceList
) -> list[RequestDemand]:
    """Return the figures of requests that decide what they may cost.

    Args:
        models: their models.
        params: their params.
        max_tokens: their `max_tokens`.
        prices: the job's price list.
    """
    surcharges: Iterable[Surcharge] = repeat(NO_SURCHARGE)
    if _may_cost_more(models, params, prices):
        surcharges = [
            _surcharge(model, bytes(text), prices)
            for model, text in zip(models, params, strict=True)
        ]
    return [*zip(models, map(len, params), max_tokens, surcharges, strict=False)]


def read_request(params: bytes, prices: PriceList) -> RequestDemand:
    """Read from the params of a request the figures that decide what it may cost."""
    model, max_tokens = demand.limits_of(params)
    return read_requests([model], [params], [max_tokens], prices)[0]


def _may_cost_more(models: Sequence[str], params: Sequence[bytes], prices: PriceList) -> bool:
    """Return whether any request may have a surcharge. Searching all of them together takes a tenth of the time."""
    limits = [long_prompt_limit(model, prices.version) for model in set(models)]
    shortest = min((limit for limit in limits if limit is not None), default=None)
    if shortest is not None and max(map(len, params)) > shortest:
        return True
    text = b"".join(params)
    return any(name in text for name in _MAY_COST_MORE)


def _surcharge(model: str, params: bytes, prices: PriceList) -> Surcharge:
    """Return what one request may add to the price of its tokens.

    Args:
        model: its model.
        params: its params. Those that cannot be read here have no bound, although the API refuses them.
        prices: the job's price list.
    """
    if not any(name in params for name in _MAY_COST_MORE):
        shares = _long_shares(model, len(params), prices)
        return NO_SURCHARGE if shares == (1.0, 1.0) else Surcharge(*shares)
    try:
        members = _members.decode(params)
    except UNREADABLE_JSON:
        return Surcharge(is_bounded=False)
    media_tokens, is_known = _read_media(params)
    tokens_beyond_bytes = media_tokens + _added_tokens(members, params)
    long_input, long_output = _long_shares(model, len(params) + tokens_beyond_bytes, prices)
    geo = 1.0
    if members.inference_geo not in _USUAL_GEOS:
        geo = prices.multipliers.get(f"inference_geo={members.inference_geo}", 0.0)
    return Surcharge(
        input=long_input * max(geo, 1.0) * _cache_share(params, prices),
        output=long_output * max(geo, 1.0),
        searches=_searches(members.tools or []),
        is_bounded=geo > 0 and is_known and not _has_more_input(members, params),
        tokens_beyond_bytes=tokens_beyond_bytes,
        has_media=has_media(params),
    )


def has_media(params: bytes) -> bool:
    """Return whether params may have images or documents that are not text: in base64, at a URL, or from the Files API."""
    return any(name in params for name in _MEDIA) and _SOURCE_TYPE.search(params) is not None


def _read_media(params: bytes) -> tuple[int, bool]:
    """Return how many tokens images and documents may have beyond their bytes, and whether that is known.

    The tokens of a PDF page have no documented limit, and a document that Anthropic fetches may be a PDF.
    """
    if not has_media(params):
        return 0, True
    in_base64, types = _IN_BASE64.findall(params), _SOURCE_TYPE.findall(params)
    images = sum(_IMAGE.search(source) is not None for source in in_base64)
    fetched = len(types) - types.count(b"base64")
    tokens = (images + fetched) * MAX_IMAGE_TOKENS - sum(map(len, in_base64))
    is_known = images + fetched == len(types) and not (fetched and _DOCUMENT in params)
    return tokens, is_known


def _added_tokens(members: _Members, params: bytes) -> int:
    """Return how many tokens Anthropic may add to the prompt with texts and tools of its own."""
    types = [tool.type or "custom" for tool in members.tools or []]
    texts = any(name in params for name in _ADDED_PROMPTS)
    defined = sum(type_ != "custom" for type_ in types)
    return texts * ADDED_PROMPT_TOKENS + defined * DEFINED_TOOL_TOKENS


def _cache_share(params: bytes, prices: PriceList) -> float:
    """Return the price of a token that is written to the cache, as a share of the input price."""
    if _CACHE not in params:
        return 1.0
    hour = "1h_" if _HOUR in params else ""
    return prices.cache.get(f"cache_creation_{hour}input_tokens", 1.0)


def _searches(tools: list[_Tool]) -> int:
    """Return the known number of searches that tools may make."""
    limits = [tool.max_uses or 0 for tool in tools if (tool.type or "").startswith("web_search_")]
    return sum(min(max(limit, 0), _MAX_SEARCHES) for limit in limits)


def _has_more_input(members: _Members, params: bytes) -> bool:
    """Return whether a request may be billed for input that its params do not have."""
    context = members.context_management
    edits = [] if context is None else context.edits or []
    return (
        bool(members.mcp_servers)
        or any(
            not (tool.type or "custom").startswith(_RUN_BY_CALLER) for tool in members.tools or []
        )
        or any((edit.type or "").startswith(_COMPACTION) for edit in edits)
        or _INLINE_TOOL in params
    )


def _long_shares(model: str, prompt_tokens: int, prices: PriceList) -> tuple[float, float]:
    """Return the prices of a request that may be a long prompt, as shares of the plain ones."""
    price = prices.price_of(model)
    if price is None or price.long_above is None:
        return 1.0, 1.0
    if prompt_tokens <= price.long_above:
        return 1.0, 1.0
    return price.long_input / price.input, price.long_output / price.output
