"""How tables and amounts are printed."""

from decimal import Decimal

import pytest
from rich.console import Console, RenderableType

from cli.output import Output, dollars, table

NAME = "questions-of-customers-3f9ac21b"
KEY = f"support/tickets/{'deep/' * 20}questions-of-customers.jsonl"


def jobs() -> RenderableType:
    return table(("JOB", "ROWS", "UPLOAD"), [(NAME, "1", KEY), ("a-00112233", "1,000", "a.csv")])


def test_where_output_is_piped_every_line_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    Output().show([], jobs())

    assert capsys.readouterr().out.splitlines() == [
        "JOB                              ROWS   UPLOAD",
        f"{NAME}  1      {KEY}",
        "a-00112233                       1,000  a.csv",
    ]


def test_on_a_terminal_a_name_is_whole_and_the_line_is_not_too_long(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Console(force_terminal=True, no_color=True, width=80)

    Output(stdout=console).show([], jobs())

    [_, line, _] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{NAME}  1      support/")
    assert line.endswith("…")
    assert len(line) <= 80


@pytest.mark.parametrize(
    ("usd", "digits", "text"),
    [
        (1234.5, 2, "$1,234.50"),
        (Decimal("0.01"), 2, "$0.01"),
        (0.0014, 2, "< $0.01"),
        (0.000012, 4, "< $0.0001"),
        (0, 4, "$0.0000"),
        (None, 2, "unknown"),
    ],
)
def test_an_amount_that_is_too_small_to_show_is_not_called_zero(
    usd: float | Decimal | None, digits: int, text: str
) -> None:
    assert dollars(usd, digits) == text
