"""Prices of tokens, compared with the reference's table."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model import pricing
from functions.model.items import Usage
from functions.model.pricing import PriceList, frozen, long_prompt_limit, newest_price_list

# From the reference: batch price in USD per million tokens, input and output.
TABLE = [
    ("claude-fable-5-1", 5, 25), ("claude-opus-5-5", 2, 10), ("claude-opus-5", 2.5, 12.5),
    ("claude-opus-4-5", 2.5, 12.5), ("claude-sonnet-5-5", 1, 5), ("claude-sonnet-5", 1, 5),
    ("claude-sonnet-4-6", 1.5, 7.5), ("claude-sonnet-4-5", 1.5, 7.5), ("claude-haiku-4-5", 0.5, 2.5),
    ("claude-haiku-5-5", 0.05, 0.25),
]  # fmt: skip
MILLION = 1_000_000


@pytest.mark.parametrize("suffix", ["", "-20251001", "-latest"])
@pytest.mark.parametrize(("model", "input_usd", "output_usd"), TABLE)
def test_each_model_has_the_price_of_the_reference(
    model: str, input_usd: float, output_usd: float, suffix: str
) -> None:
    assert newest_price_list().cost_usd(
        model + suffix, Usage(input_tokens=MILLION)
    ) == pytest.approx(input_usd)
    assert newest_price_list().cost_usd(
        model + suffix, Usage(output_tokens=MILLION)
    ) == pytest.approx(output_usd)


@pytest.mark.parametrize(
    ("name", "share"),
    [("cache_creation_input_tokens", 1.25), ("cache_creation_1h_input_tokens", 2), ("cache_read_input_tokens", 0.1)],
)  # fmt: skip
def test_cached_tokens_cost_a_share_of_the_input(name: str, share: float) -> None:
    assert newest_price_list().cost_usd(
        "claude-opus-5-5", Usage(**{name: MILLION})
    ) == pytest.approx(2 * share)
    assert newest_price_list().cost_usd(
        "claude-haiku-5-5", Usage(**{f"long_{name}": MILLION})
    ) == pytest.approx(0.25 * share)


def test_a_long_prompt_costs_the_long_price() -> None:
    assert long_prompt_limit("claude-haiku-5-5") == 100_000
    assert long_prompt_limit("claude-opus-5-5") is long_prompt_limit("unheard-of") is None
    assert newest_price_list().cost_usd(
        "claude-haiku-5-5", Usage(long_input_tokens=MILLION)
    ) == pytest.approx(0.25)
    assert newest_price_list().cost_usd(
        "claude-haiku-5-5", Usage(long_output_tokens=MILLION)
    ) == pytest.approx(1.25)


@pytest.mark.parametrize("model", ["", "claude-opus-6", "gpt", "claude-opus-5-5-2025", "claude"])
def test_an_unknown_model_has_no_price(model: str) -> None:
    assert newest_price_list().price_of(model) is None
    assert newest_price_list().cost_usd(model, Usage(input_tokens=5)) is None


_tokens = st.integers(0, 10**9)
usages = st.builds(Usage, input_tokens=_tokens, output_tokens=_tokens, long_input_tokens=_tokens)


@given(usages, st.sampled_from([model for model, *_ in TABLE]))
def test_more_tokens_never_cost_less_and_none_cost_nothing(usage: Usage, model: str) -> None:
    cost = newest_price_list().cost_usd(model, usage)

    assert cost is not None
    assert cost >= (
        newest_price_list().cost_usd(model, Usage(input_tokens=usage.input_tokens)) or 0.0
    )
    assert newest_price_list().cost_usd(model, Usage()) == 0


def test_a_price_list_has_a_date_and_a_source() -> None:
    assert newest_price_list().version[:2] == "20"
    assert "Anthropic" in newest_price_list().source


FOLDER = Path(pricing.__file__).parent / "price_lists"


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_each_price_list_has_the_name_of_its_file(file: Path) -> None:
    price_list = frozen(file.stem)

    assert price_list is not None
    assert price_list.version == file.stem


def test_new_jobs_use_the_newest_price_list() -> None:
    assert newest_price_list().version == max(file.stem for file in FOLDER.iterdir())


def test_a_missing_price_list_is_none_and_has_no_long_prompt_limit() -> None:
    assert frozen("2020-01") is None
    assert long_prompt_limit("claude-haiku-5-5", "2020-01") is None


def test_the_long_prompt_limit_is_that_of_the_given_price_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    newest_list = newest_price_list()
    haiku = msgspec.structs.replace(newest_list.models["claude-haiku-5-5"], long_above=5)
    older_list = PriceList(
        version="2020-02", source="s", cache={}, models={"claude-haiku-5-5": haiku}
    )
    monkeypatch.setattr(
        pricing, "_lists", lambda: {"2020-02": older_list, newest_list.version: newest_list}
    )

    assert long_prompt_limit("claude-haiku-5-5", "2020-02") == 5
