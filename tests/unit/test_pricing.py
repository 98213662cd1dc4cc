"""What tokens cost: prices are data, pinned here to the reference's table."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.model import pricing
from functions.model.items import Usage
from functions.model.pricing import PriceList, frozen, long_prompt_limit, newest_price_list

# The reference: US dollars per million tokens, batch price, input and output.
TABLE = [
    ("claude-fable-5-1", 5, 25), ("claude-opus-5-5", 2, 10), ("claude-opus-5", 2.5, 12.5),
    ("claude-opus-4-5", 2.5, 12.5), ("claude-sonnet-5-5", 1, 5), ("claude-sonnet-5", 1, 5),
    ("claude-sonnet-4-6", 1.5, 7.5), ("claude-sonnet-4-5", 1.5, 7.5), ("claude-haiku-4-5", 0.5, 2.5),
    ("claude-haiku-5-5", 0.05, 0.25),
]  # fmt: skip
MILLION = 1_000_000


@pytest.mark.parametrize("suffix", ["", "-20251001", "-latest"])
@pytest.mark.parametrize(("model", "input_", "output"), TABLE)
def test_each_model_costs_what_the_table_says(
    model: str, input_: float, output: float, suffix: str
) -> None:
    assert newest_price_list().cost_usd(
        model + suffix, Usage(input_tokens=MILLION)
    ) == pytest.approx(input_)
    assert newest_price_list().cost_usd(
        model + suffix, Usage(output_tokens=MILLION)
    ) == pytest.approx(output)


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


def test_the_list_says_its_date_and_its_source() -> None:
    assert newest_price_list().version[:2] == "20"
    assert "Anthropic" in newest_price_list().source


FOLDER = Path(pricing.__file__).parent / "price_lists"


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_each_list_is_found_by_the_name_of_its_file(file: Path) -> None:
    found = frozen(file.stem)

    assert found is not None
    assert found.version == file.stem


def test_the_newest_list_is_that_of_jobs_to_come() -> None:
    assert newest_price_list().version == max(file.stem for file in FOLDER.iterdir())


def test_a_list_that_is_gone_is_none_and_splits_no_prompts() -> None:
    assert frozen("2020-01") is None
    assert long_prompt_limit("claude-haiku-5-5", "2020-01") is None


def test_prompts_are_split_by_the_list_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    newest = newest_price_list()
    haiku = msgspec.structs.replace(newest.models["claude-haiku-5-5"], long_above=5)
    older = PriceList(version="2020-02", source="s", cache={}, models={"claude-haiku-5-5": haiku})
    monkeypatch.setattr(pricing, "_lists", lambda: {"2020-02": older, newest.version: newest})

    assert long_prompt_limit("claude-haiku-5-5", "2020-02") == 5
