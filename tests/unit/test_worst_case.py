"""The worst case of a job includes what the params of its rows allow. What nobody can bound is unknown."""

import json
from typing import Any

import pytest

from functions.model.demand import of_requests
from functions.model.estimate import Sample, estimate
from functions.model.expected_cost import estimate_figures, known_worst_micro_usd
from functions.model.pricing import newest_price_list
from functions.model.request_demand import (
    ADDED_PROMPT_TOKENS,
    DEFINED_TOOL_TOKENS,
    MAX_IMAGE_TOKENS,
    has_media,
    read_request,
)
from tests.unit.factories import job

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
TOKENS_PER_BYTE = 0.5
OUTPUT = 100_000
IN_USD, OUT_USD = 2.0 / 1e6, 10.0 / 1e6
"""Half of $4 and $20 for a million tokens."""
CACHED = [{"type": "text", "text": "x" * 10_000, "cache_control": {"type": "ephemeral"}}]
HOUR = [{**CACHED[0], "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
CALLERS_TOOLS: list[dict[str, Any]] = [
    {"name": "look_up", "input_schema": {}}, {"type": "custom", "name": "look_up", "input_schema": {}},
    {"type": "bash_20250124", "name": "bash"}, {"type": "memory_20250818", "name": "memory"},
    {"type": "text_editor_20250728", "name": "edit"}, {"type": "computer_20251124", "name": "computer"},
    {"type": "browser_toolset_20260801"},
]  # fmt: skip
ANTHROPICS_TOOLS: list[dict[str, Any]] = [
    SEARCH, {**SEARCH, "max_uses": 5}, {"type": "code_execution_20250825", "name": "code_execution"},
    {"type": "web_fetch_20260318", "name": "web_fetch", "max_uses": 1, "max_content_tokens": 10},
    {"type": "tool_search_tool_bm25", "name": "tool_search_tool_bm25"}, {"type": "mcp_toolset", "mcp_server_name": "c"},
    {"type": "advisor_20260301", "name": "advisor", "model": OPUS}, {"type": "of_next_year", "name": "x"},
]  # fmt: skip
"""Their results are billed as input. Of those, PDFs that are fetched have no limit at all."""
ADDED = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": SEARCH}}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "A" * 40_000}
IMAGE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" * 40_000}
IMAGES = [{"type": "image", "source": dict(reversed(IMAGE.items()))} for _ in range(3)]
CHINESE = "\u5fc5\u987b" * 5_000
QUOTED = (
    'I wrote "cache_control", "tools", "mcp_servers", "tool_definition" and "inference_geo" myself'
)


def content(source: dict[str, str], type_: str = "document") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": type_, "source": source}]}]


def encode(params: dict[str, Any]) -> bytes:
    request = {"model": OPUS, "max_tokens": OUTPUT, "messages": []} | params
    return json.dumps(request, ensure_ascii=False).encode()


def counted(text: bytes) -> Sample:
    return Sample(1, len(text), round(len(text) * TOKENS_PER_BYTE), has_media(text))


def figures(
    params: dict[str, Any], samples: dict[str, Sample] | None = None
) -> tuple[int, float | None, float]:
    """Return a request's input tokens, its worst case, and what of that is known, in US dollars.

    Args:
        params: the request's params.
        samples: what was counted, by model; None if this request was.
    """
    text = encode(params)
    demands = of_requests([read_request(text, newest_price_list())])
    samples = {OPUS: counted(text)} if samples is None else samples
    planned = job(price_list=newest_price_list().version, estimate=estimate(demands, samples, {}))
    document = estimate_figures(planned)
    assert document is not None
    known = known_worst_micro_usd(planned, demands, samples) / 1e6
    return document["input_tokens"], document["cost_usd"]["worst"], known


@pytest.mark.parametrize(
    ("case", "params", "input_share", "output_share", "more_usd"),
    [
        ("plain", {}, 1, 1, 0),
        ("a text that quotes members", {"system": QUOTED}, 1, 1, 0),
        ("written to the cache", {"system": CACHED}, 1.25, 1, 0),
        ("written for an hour", {"system": HOUR}, 2, 1, 0),
        ("in the United States", {"inference_geo": "us"}, 1.1, 1.1, 0),
        ("anywhere", {"inference_geo": "global"}, 1, 1, 0),
        ("both", {"inference_geo": "us", "system": HOUR}, 2.2, 1.1, 0),
        ("a text about URLs", {"system": 'write "type": "url"'}, 1, 1, 0),
        *((f"a tool of the caller: {tool}", {"tools": [tool]}, 1, 1, 0) for tool in CALLERS_TOOLS),
    ],
)
def test_the_worst_case_includes_what_the_params_allow(
    case: str, params: dict[str, Any], input_share: float, output_share: float, more_usd: float
) -> None:
    tokens, worst_usd, known_usd = figures(params)

    expected = tokens * input_share * IN_USD + OUTPUT * output_share * OUT_USD + more_usd
    assert worst_usd == pytest.approx(expected, abs=5e-6), case
    assert known_usd == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("case", "params"),
    [
        *((f"a tool of Anthropic's: {tool}", {"tools": [tool]}) for tool in ANTHROPICS_TOOLS),
        (
            "a tool that is defined in a message",
            {"messages": [{"role": "user", "content": [ADDED]}]},
        ),
        ("an MCP server", {"mcp_servers": [{"type": "url", "url": "https://a.b", "name": "c"}]}),
        ("a PDF in the params", {"messages": content(PDF)}),
        ("a PDF beside an image", {"messages": content(PDF) + content(IMAGE, "image")}),
        (
            "a PDF beside an image at a URL",
            {"messages": content(PDF) + content({"type": "url", "url": "https://a.b"}, "image")},
        ),
        ("a document at a URL", {"messages": content({"type": "url", "url": "https://a.b"})}),
        ("an uploaded file", {"messages": content({"type": "file", "file_id": "file_1"})}),
        ("compaction", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
        ("a region without a price", {"inference_geo": "eu"}),
        ("members that cannot be read", {"tools": "all", "system": CACHED}),
    ],
)
def test_the_worst_case_is_unknown_where_it_has_no_bound(
    case: str, params: dict[str, Any]
) -> None:
    _, worst_usd, known_usd = figures(params)

    assert worst_usd is None, case
    assert known_usd > OUTPUT * OUT_USD


@pytest.mark.parametrize(
    ("case", "params", "not_text", "more"),
    [
        ("text", {"system": "x" * 10_000}, "", 0),
        ("text with several bytes a character", {"system": CHINESE}, "", 0),
        ("base64 in a text", {"system": IMAGE["data"]}, "", 0),
        ("an image", {"messages": content(IMAGE, "image")}, [IMAGE], MAX_IMAGE_TOKENS),
        ("an image at a URL", {"messages": content({"type": "url", "url": "https://a.b"}, "image")}, "", MAX_IMAGE_TOKENS),
        ("an uploaded image", {"messages": content({"type": "file", "file_id": "a"}, "image") * 2}, "", 2 * MAX_IMAGE_TOKENS),
        ("images in the result of a tool",
         {"messages": [{"role": "user", "content": [{"type": "tool_result", "content": IMAGES}]}]},
         [image["source"] for image in IMAGES], 3 * MAX_IMAGE_TOKENS),
        ("a tool of the caller", {"tools": CALLERS_TOOLS[:1]}, "", ADDED_PROMPT_TOKENS),
        ("a tool that Anthropic defines", {"tools": CALLERS_TOOLS[2:3]}, "", ADDED_PROMPT_TOKENS + DEFINED_TOOL_TOKENS),
        ("a format of the output", {"output_config": {"format": {}}}, "", ADDED_PROMPT_TOKENS),
    ],
)  # fmt: skip
def test_without_a_count_each_byte_may_be_a_token(
    case: str, params: dict[str, Any], not_text: Any, more: int
) -> None:
    media_bytes = sum(len(json.dumps(source)) for source in not_text)
    most = len(encode(params)) - media_bytes + more

    for samples in ({}, {HAIKU: Sample(1, 1_000, 1)}):
        tokens, worst_usd, known_usd = figures(params, samples)

        assert worst_usd == pytest.approx(most * IN_USD + OUTPUT * OUT_USD, abs=5e-6), case
        assert known_usd == pytest.approx(worst_usd, abs=5e-6)
        assert tokens <= most


def test_a_count_of_images_is_no_bound_for_text() -> None:
    """An image has few tokens for its bytes."""
    images = counted(encode({"messages": content(IMAGE, "image")}))
    text = {"system": "x" * 10_000}

    assert figures(text, {OPUS: images})[1:] == figures(text, {})[1:]


def test_searches_are_known_although_what_they_find_is_not() -> None:
    plain, searching = (
        figures({"tools": [tool]})[2] for tool in (SEARCH, {**SEARCH, "max_uses": 500})
    )

    assert searching - plain == pytest.approx(5, abs=1e-4)


def test_a_long_prompt_costs_its_own_price_beside_short_ones() -> None:
    """Its model costs five times as much above 100,000 tokens, and each byte may be one."""
    requests = [
        {"model": HAIKU, "max_tokens": 1_000, "system": "x" * size} for size in (10, 100_000)
    ]
    worst_usd = [known_usd(request) for request in requests]

    assert worst_usd[0] == pytest.approx(1_000 * 0.25e-6, rel=0.05)
    assert worst_usd[1] == pytest.approx(5 * (100_000 * 0.05e-6 + 1_000 * 0.25e-6), rel=0.02)


def known_usd(params: dict[str, Any]) -> float:
    prices = newest_price_list()
    demands = of_requests([read_request(json.dumps(params).encode(), prices)])
    return known_worst_micro_usd(job(price_list=prices.version), demands, {}) / 1e6
