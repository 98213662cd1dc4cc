"""Prices of usage, compared with figures that were worked out by hand from the reference's table."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model import pricing
from functions.model.items.counts import Usage
from functions.model.pricing import (
    Price,
    PriceList,
    find_price_list,
    long_prompt_limit,
    newest_price_list,
    total_bill,
)

MILLION = 1_000_000
# USD for a million tokens in a batch, worked out by hand: half of the standard price; what is written to the cache
# costs 1.25 and 2 times the input, what is read from it the model's own share; in the US everything costs 1.1 times as
# much. "long" is a prompt of more than 100,000 tokens.
TABLE = """
models                                                               | ended                  | where     | input | output | 5 min   | 1 h   | read
claude-fable-5-2                                                     | 2026-11-09, 2027-01-01 |           | 4     | 20     | 5       | 8     | 0.1
claude-fable-5-2                                                     | 2026-11-09             | us        | 4.4   | 22     | 5.5     | 8.8   | 0.11
claude-fable-5-1, claude-mythos-5-1                                  | 2026-09-01, 2027-01-01 |           | 5     | 25     | 6.25    | 10    | 0.125
claude-fable-5-1, claude-mythos-5-1                                  | 2026-10-07             | us        | 5.5   | 27.5   | 6.875   | 11    | 0.1375
claude-fable-5, claude-mythos-5                                      | 2026-06-09, 2027-01-01 |           | 5     | 25     | 6.25    | 10    | 0.5
claude-fable-5, claude-mythos-5                                      | 2026-10-07             | us        | 5.5   | 27.5   | 6.875   | 11    | 0.55
claude-opus-5-5                                                      | 2026-09-30, 2027-01-01 |           | 2     | 10     | 2.5     | 4     | 0.1
claude-opus-5-5                                                      | 2026-10-07             | us        | 2.2   | 11     | 2.75    | 4.4   | 0.11
claude-opus-5, claude-opus-4-8, claude-opus-4-7, claude-opus-4-6     | 2026-10-06, 2026-10-07 |           | 2.5   | 12.5   | 3.125   | 5     | 0.25
claude-opus-5, claude-opus-4-8, claude-opus-4-7, claude-opus-4-6     | 2026-10-07             | us        | 2.75  | 13.75  | 3.4375  | 5.5   | 0.275
claude-opus-4-5                                                      | 2026-10-06, 2026-10-07 |           | 2.5   | 12.5   | 3.125   | 5     | 0.25
claude-opus-4-1                                                      | 2026-10-06, 2026-10-07 |           | 7.5   | 37.5   | 9.375   | 15    | 0.75
claude-sonnet-5-5                                                    | 2026-09-01, 2026-10-06 |           | 1     | 5      | 1.25    | 2     | 0.1
claude-sonnet-5-5                                                    | 2026-10-07, 2026-10-08 |           | 1     | 5      | 1.25    | 2     | 0.05
claude-sonnet-5-5                                                    | 2026-10-06             | us        | 1.1   | 5.5    | 1.375   | 2.2   | 0.11
claude-sonnet-5-5                                                    | 2026-10-07             | us        | 1.1   | 5.5    | 1.375   | 2.2   | 0.055
claude-sonnet-5                                                      | 2026-10-06, 2026-10-07 |           | 1     | 5      | 1.25    | 2     | 0.1
claude-sonnet-5                                                      | 2026-10-07             | us        | 1.1   | 5.5    | 1.375   | 2.2   | 0.11
claude-sonnet-4-6, claude-sonnet-4-5                                 | 2026-10-06, 2026-10-07 |           | 1.5   | 7.5    | 1.875   | 3     | 0.15
claude-sonnet-4-6                                                    | 2026-10-07             | us        | 1.65  | 8.25   | 2.0625  | 3.3   | 0.165
claude-sonnet-4, claude-sonnet-4-0                                   | 2026-06-14             |           | 1.5   | 7.5    | 1.875   | 3     | 0.15
claude-haiku-5-5                                                     | 2026-10-07, 2027-01-01 |           | 0.05  | 0.25   | 0.0625  | 0.1   | 0.005
claude-haiku-5-5                                                     | 2026-10-07             | us        | 0.055 | 0.275  | 0.06875 | 0.11  | 0.0055
claude-haiku-5-5                                                     | 2026-10-07, 2027-01-01 | long      | 0.25  | 1.25   | 0.3125  | 0.5   | 0.025
claude-haiku-5-5                                                     | 2026-10-07             | us, long  | 0.275 | 1.375  | 0.34375 | 0.55  | 0.0275
claude-haiku-4-5                                                     | 2026-10-06, 2026-10-07 |           | 0.5   | 2.5    | 0.625   | 1     | 0.05
"""
KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "5 min": "cache_creation_input_tokens",
    "1 h": "cache_creation_1h_input_tokens",
    "read": "cache_read_input_tokens",
}
LINES = [[cell.strip() for cell in line.split("|")] for line in TABLE.strip().splitlines()]
CASES = [
    pytest.param(model, day, where, kind, usd, id=f"{model} {day} {where} {kind}")
    for models, days, where, *prices in LINES[1:]
    for model in models.split(", ")
    for day in days.split(", ")
    for kind, usd in zip(LINES[0][3:], prices, strict=True)
]


def million(kind: str, where: str = "") -> Usage:
    """Build the usage of a million tokens of a kind: of requests in the US, of long prompts, or of both."""
    name = ("long_" if "long" in where else "") + KINDS[kind]
    if "us" not in where:
        return {name: MILLION}
    return {name: MILLION, f"{name}[inference_geo=us]": MILLION, "inference_geo=us": 10}


@pytest.mark.parametrize(("model", "day", "where", "kind", "usd"), CASES)
def test_a_million_tokens_cost_what_the_table_says(
    model: str, day: str, where: str, kind: str, usd: str
) -> None:
    cost_usd = newest_price_list().cost_usd(model, million(kind, where), day)

    assert cost_usd == pytest.approx(float(usd), rel=1e-12)


def test_the_table_and_the_newest_list_name_the_same_models() -> None:
    assert {model for row in LINES[1:] for model in row[0].split(", ")} == set(
        newest_price_list().models
    )


@pytest.mark.parametrize("model", newest_price_list().models)
def test_a_tool_costs_the_same_for_each_model_and_is_not_halved(model: str) -> None:
    prices = newest_price_list()

    assert prices.cost_usd(model, {"server_tool_use.web_search_requests": 1000}) == 10
    assert prices.cost_usd(model, {"server_tool_use.web_fetch_requests": 1000}) == 0
    assert prices.cost_usd(model, {"output_tokens_details.thinking_tokens": 1000}) == 0
    assert prices.cost_usd(model, {"container": 1}) is None


@pytest.mark.parametrize("suffix", ["-20251001", "-latest"])
def test_a_dated_name_costs_what_the_model_costs(suffix: str) -> None:
    assert newest_price_list().cost_usd("claude-opus-5-5" + suffix, million("output")) == 10


def test_only_the_tokens_in_the_us_cost_more() -> None:
    usage = {
        "input_tokens": 3 * MILLION,
        "input_tokens[inference_geo=us]": MILLION,
        "inference_geo=us": 10,
    }

    # Two million at $2.00, one at $2.20.
    assert newest_price_list().cost_usd("claude-opus-5-5", usage) == pytest.approx(6.2)


def test_without_a_day_the_newest_price_applies() -> None:
    assert newest_price_list().cost_usd("claude-sonnet-5-5", million("read")) == 0.05


@pytest.mark.parametrize("model", ["", "claude-opus-6", "gpt", "claude-opus-5-5-2025", "claude"])
def test_an_unknown_model_has_no_price(model: str) -> None:
    bill = newest_price_list().bill(
        model, {"input_tokens": 5, "server_tool_use.web_search_requests": 1}
    )

    assert newest_price_list().price_of(model) is None
    assert (bill.usd, bill.known_usd) == (None, 0.01)
    assert bill.problems == (
        f"the price list {newest_price_list().version} has no price for the model {model}",
    )


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("unreadable_rows", "the usage of 7 succeeded rows cannot be read"),
        ("unknown_result_rows", "7 rows have a result of a type that is unknown here and may be billed"),
        ("lost_rows", "7 rows were sent and their results are lost, so they may have been billed"),
        ("container", "7 answers ran code, which is billed by the hour, and no result says how long"),
        ("server_tool_use.code_execution_requests", "no price for server_tool_use.code_execution_requests in the usage"),
        ("inference_geo=eu", "no price for inference_geo=eu in the usage of claude-opus-5-5 (7)"),
        ("service_tier=priority", "no price for service_tier=priority"),
        ("speed=fast", "no price for speed=fast"),
        ("other", "no price for other"),
        ("long_input_tokens", "no price for the model claude-opus-5-5"),
    ],
)  # fmt: skip
def test_what_has_no_price_makes_the_cost_unknown(member: str, reason: str) -> None:
    bill = newest_price_list().bill("claude-opus-5-5", {"input_tokens": MILLION, member: 7})

    assert (bill.usd, bill.known_usd) == (None, 2)
    assert len(bill.problems) == 1
    assert reason in bill.problems[0]


def test_zero_of_something_unknown_costs_nothing() -> None:
    usage = {"input_tokens": MILLION, "invented": 0}

    assert newest_price_list().cost_usd("claude-opus-5-5", usage) == 2


def test_a_bill_says_what_the_batch_and_the_cache_saved() -> None:
    usage = {
        "input_tokens": MILLION,
        "cache_creation_input_tokens": MILLION,
        "cache_read_input_tokens": 10 * MILLION,
        "server_tool_use.web_search_requests": 100,
    }

    bill = newest_price_list().bill("claude-opus-5-5", usage)

    # 2 + 2.50 + 10 * 0.10 + 100 * 0.01. Searches cost the same outside a batch, all else twice as much.
    assert bill.known_usd == pytest.approx(6.5)
    assert bill.batch_saved_usd == pytest.approx(5.5)
    # 12 million tokens at $2 would cost $24; they cost $5.50.
    assert bill.cache_saved_usd == pytest.approx(24 - 2 - 3.5)


def test_a_cache_that_is_written_and_not_read_saves_less_than_nothing() -> None:
    bill = newest_price_list().bill("claude-opus-5-5", million("1 h"))

    assert bill.cache_saved_usd == pytest.approx(-2)


_tokens = st.integers(0, 10**9)
_usages = st.fixed_dictionaries(
    {}, optional=dict.fromkeys((*KINDS.values(), "server_tool_use.web_search_requests"), _tokens)
)


@given(_usages, _usages, st.sampled_from(sorted(newest_price_list().models)))
def test_usage_costs_the_sum_of_its_parts_and_never_less_than_one_of_them(
    usage: Usage, more: Usage, model: str
) -> None:
    both = {name: usage.get(name, 0) + more.get(name, 0) for name in usage | more}
    part, rest = (newest_price_list().bill(model, some) for some in (usage, more))

    whole = newest_price_list().bill(model, both)

    assert whole.known_usd == pytest.approx(total_bill([part, rest]).known_usd)
    assert whole.known_usd >= part.known_usd
    assert newest_price_list().cost_usd(model, {}) == 0


def test_a_price_list_has_a_day_and_a_source() -> None:
    assert newest_price_list().version == "2026-11-27"
    assert "Anthropic" in newest_price_list().source
    assert newest_price_list().version in newest_price_list().source


FOLDER = Path(pricing.__file__).parent / "price_lists"
FILES = sorted(FOLDER.iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_price_list_has_the_name_of_its_file(file: Path) -> None:
    price_list = find_price_list(file.stem)

    assert price_list is not None
    assert price_list.version == file.stem


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_prices_of_a_model_follow_each_other_and_have_one_long_prompt_limit(
    file: Path,
) -> None:
    for listed in msgspec.json.decode(file.read_bytes(), type=PriceList).models.values():
        periods = listed if isinstance(listed, list) else [listed]

        assert periods[0].since is None
        assert all((one.since or "") < (other.since or "") for one, other in pairwise(periods))
        assert len({price.long_above for price in periods}) == 1


def test_new_jobs_use_the_newest_price_list() -> None:
    assert newest_price_list().version == max(file.stem for file in FILES)


def test_a_missing_price_list_is_none_and_has_no_long_prompt_limit() -> None:
    assert find_price_list("2020-01") is None
    assert long_prompt_limit("claude-haiku-5-5", "2020-01") is None


def test_a_model_may_have_a_long_prompt_limit() -> None:
    assert long_prompt_limit("claude-haiku-5-5") == 100_000
    assert long_prompt_limit("claude-opus-5-5") is long_prompt_limit("unheard-of") is None


def test_the_long_prompt_limit_is_that_of_the_given_price_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest_list = newest_price_list()
    haiku = Price(input=1, output=1, long_above=5)
    older_list = PriceList(
        version="2020-02", source="s", cache={}, models={"claude-haiku-5-5": haiku}
    )
    monkeypatch.setattr(
        pricing, "_lists", lambda: {"2020-02": older_list, newest_list.version: newest_list}
    )

    assert long_prompt_limit("claude-haiku-5-5", "2020-02") == 5


# The first list has batch prices, one share for what is read from the cache, and no days, properties or tools.
FIRST_LIST = [
    ("claude-opus-5-5", {"input_tokens": MILLION, "output_tokens": MILLION}, 12),
    ("claude-opus-5-5", {"cache_read_input_tokens": MILLION}, 0.2),
    ("claude-opus-5-5", {"cache_creation_input_tokens": MILLION}, 2.5),
    ("claude-haiku-5-5", {"long_input_tokens": MILLION, "long_cache_creation_1h_input_tokens": MILLION}, 0.75),
    ("claude-opus-5-5", {"output_tokens": MILLION, "output_tokens_details.thinking_tokens": 5}, 10),
    ("claude-opus-5-5", {"input_tokens": MILLION, "server_tool_use.web_search_requests": 1}, None),
    ("claude-opus-5-5", million("input", "us"), None),
    ("claude-fable-5-2", {"input_tokens": 1}, None),
]  # fmt: skip


@pytest.mark.parametrize(("model", "usage", "usd"), FIRST_LIST)
def test_jobs_of_the_first_price_list_cost_what_they_did(
    model: str, usage: Usage, usd: float | None
) -> None:
    first_list = find_price_list("2026-11")

    assert first_list is not None
    bill = first_list.bill(model, usage, "2026-11-28")
    assert bill.usd == (None if usd is None else pytest.approx(usd))
    assert bill.batch_saved_usd == pytest.approx(bill.known_usd)
