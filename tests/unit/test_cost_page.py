"""docs/cost.md: its worked examples are right by hand, and are what the relay computes."""

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from functions.model.api_results import read_result
from functions.model.outcome_counter import OutcomeCounter
from functions.model.pricing import Bill, newest_price_list, total_bill

PAGE = (Path(__file__).parents[2] / "docs" / "cost.md").read_text(encoding="utf-8")
EXAMPLES = PAGE.split("\n## Worked examples\n")[1].split("\n## ")[0].split("\n### ")[1:]
MILLION = 1_000_000
EXACT = 1e-12
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Example:
    """One worked example: its rows' usage, and the lines of its table."""

    model: str
    day: str
    usages: list[bytes]
    lines: list[tuple[str, float, float, float]]
    total_usd: float
    saved: dict[str, float]
    is_known: bool


def number(cell: str) -> float:
    return float(cell.replace(",", ""))


def parse(text: str) -> Example:
    flat = " ".join(text.split())
    [(model, day)] = re.findall(
        r"`(claude-[^`]+)`, in a batch that ended on (\d{4}-\d\d-\d\d)", flat
    )
    [usages] = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    cells = re.findall(r"^\| ([^|*]+) \| ([\d,]+) \| ([^|]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    [(what, total)] = re.findall(
        r"^\| \*\*(all[^*]*)\*\* \|.*\*\*([\d.]+)\*\* \|$", text, re.MULTILINE
    )
    saved = dict(re.findall(r"Saved by (the batch price|caching): ([\d.]*\d)", flat))
    return Example(
        model, day, usages.encode().splitlines(),
        [(name, number(count), number(rate.rpartition("= ")[2]), number(usd)) for name, count, rate, usd in cells],
        number(total), {name: number(usd) for name, usd in saved.items()}, what == "all",
    )  # fmt: skip


def compute(example: Example) -> Bill:
    """Return what the relay computes for an example's rows."""
    counter = OutcomeCounter()
    for usage in example.usages:
        message = {"model": example.model, "stop_reason": "end_turn", "usage": msgspec.Raw(usage)}
        result = msgspec.json.encode({"type": "succeeded", "message": message})
        counter.add([read_result(result)])
    prices, usage_by_model = newest_price_list(), counter.tally().usage
    return total_bill(prices.bill(*used, example.day) for used in usage_by_model.items())


def heading(text: str) -> str:
    return text.partition("\n")[0]


@pytest.mark.parametrize("text", EXAMPLES, ids=heading)
def test_an_example_is_calculated_correctly(text: str) -> None:
    example = parse(text)

    for name, count, usd_per_million, usd in example.lines:
        assert count * usd_per_million / MILLION == pytest.approx(usd, rel=EXACT), name
    assert sum(usd for *_, usd in example.lines) == pytest.approx(example.total_usd, rel=EXACT)


@pytest.mark.parametrize("text", EXAMPLES, ids=heading)
def test_the_factors_of_a_price_multiply_to_it(text: str) -> None:
    products = re.findall(rf"\| ([\d., {TIMES}]+) = ([\d.,]+) \|", text)

    assert products
    for factors, product in products:
        result = 1.0
        for factor in factors.split(TIMES):
            result *= number(factor)
        assert result == pytest.approx(number(product), rel=EXACT)


@pytest.mark.parametrize("text", EXAMPLES, ids=heading)
def test_the_relay_computes_what_an_example_says(text: str) -> None:
    example = parse(text)

    bill = compute(example)

    assert bill.known_usd == pytest.approx(example.total_usd, rel=EXACT)
    assert (bill.usd is not None) is example.is_known
    if "the batch price" in example.saved:
        assert bill.batch_saved_usd == pytest.approx(example.saved["the batch price"], rel=EXACT)
        assert bill.cache_saved_usd == pytest.approx(example.saved["caching"], rel=1e-9, abs=EXACT)


def test_there_are_examples_of_each_rule() -> None:
    assert len(EXAMPLES) == 8
    assert {len(parse(text).usages) for text in EXAMPLES} == {1, 2, 3}
    assert [heading(text) for text in EXAMPLES if not parse(text).is_known] == [
        "Something that the price list does not know"
    ]


@pytest.mark.parametrize(
    "reason",
    ["no price for the model", "cannot be read", "answers ran code", "of a type that is unknown here", "results are lost"],
)  # fmt: skip
def test_the_page_explains_the_reasons_as_the_relay_words_them(reason: str) -> None:
    usage = {
        "input_tokens": 1,
        "unreadable_rows": 2,
        "container": 2,
        "unknown_result_rows": 2,
        "lost_rows": 2,
    }
    problems = newest_price_list().bill("invented", usage).problems

    assert any(reason in problem for problem in problems)
    assert reason in PAGE
