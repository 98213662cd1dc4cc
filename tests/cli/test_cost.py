"""`relay cost` sums the ledger of a month."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from functions.model.usage_comparison import COLUMNS, Figures, Period, check_line
from functions.readers.tables import csv_line
from tests.cli.conftest import KEY, CommandLine, finished
from tests.fakes.strict_s3 import S3ErrorResponse, reject_requests
from tests.harness import RESULTS, Harness
from tests.unit.factories import AT


def test_cost_sums_the_ledger_of_a_month_by_folder(stack: Harness, relay: CommandLine) -> None:
    for key in (KEY, "team/april.jsonl", "other/may.jsonl"):
        finished(stack, key)

    cost = relay.json("cost", "--month", f"{stack.moment:%Y-%m}")

    assert {folder: sums["jobs"] for folder, sums in cost["folders"].items()} == {
        "other": 1,
        "team": 2,
    }
    manifests = [stack.manifest(key)["cost_usd"] for key in (KEY, "team/april.jsonl")]
    assert float(cost["folders"]["team"]["cost_usd_known"]) == pytest.approx(sum(manifests))
    assert cost["total"]["rows"] == 9


def test_cost_shows_how_the_ledger_compares_with_anthropics_report(
    stack: Harness, relay: CommandLine
) -> None:
    months = {"2026-10": Figures(usd=Decimal("12.5")), "2026-11": Figures(notes=["a note"])}
    for month, ours in months.items():
        period = Period(date.fromisoformat(f"{month}-01"), date.fromisoformat(f"{month}-21"))
        cells = check_line(period, ours, Figures(usd=Decimal(13)), "default", AT)
        body = csv_line(COLUMNS) + csv_line(cells)
        stack.s3.put_object(Bucket=RESULTS, Key=f"ledger/{month}.check.csv", Body=body)

    line = (
        "through 2026-10-20: Anthropic's report $13.0000, the ledger $12.5000, difference 0.5000\n"
    )
    assert line in relay("cost", "--month", "2026-10").stdout
    assert "difference 13.0000; a note\n" in relay("cost", "--month", "2026-11").stdout
    assert relay.json("cost", "--month", "2026-11")["check"]["workspace"] == "default"
    assert relay.json("cost", "--month", "2026-09")["check"] is None
    with reject_requests(stack.s3, "GetObject", S3ErrorResponse(403, "AccessDenied"), "ledger/"):
        assert relay.json("cost", "--month", "2026-11")["check"] is None


def test_a_month_is_checked(relay: CommandLine) -> None:
    assert "2026-13 is not a month" in relay("cost", "--month", "2026-13", code=2).stderr
