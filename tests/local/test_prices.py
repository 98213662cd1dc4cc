"""`make prices`: which models of the SDK have no price."""

import subprocess
import sys
from datetime import date

import pytest

from functions.model import pricing
from functions.model.pricing import PriceList
from local.prices import missing_models, report, sdk_models

TODAY = date(2026, 11, 27)


def test_the_models_of_the_sdk_are_known_with_their_retirement() -> None:
    models = sdk_models()

    assert models["claude-opus-5-5"] is None
    assert models["claude-sonnet-4-5"] == date(2026, 11, 30)
    assert models["claude-1.3"] == date(2024, 11, 6)


def test_only_models_whose_price_nobody_published_are_missing() -> None:
    missing, retired = missing_models(TODAY)

    assert missing == ["claude-mythos-5-2"]
    assert {"claude-3-opus-20240229", "claude-mythos-preview"} <= set(retired)
    assert "claude-sonnet-4-5" not in retired


def test_a_model_that_the_list_lacks_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = PriceList(version="2099-01", source="s", cache={}, models={})
    monkeypatch.setattr(pricing, "_lists", lambda: {empty.version: empty})

    lines = [*report(TODAY)]

    assert lines[0] == "newest price list: 2099-01, 0 models"
    assert "claude-opus-5-5" in lines[1]
    assert "claude-opus-5-5" not in lines[2]
    assert lines[-1].endswith("Add a new list: see docs/cost.md.")


def test_the_command_reports_on_the_newest_price_list() -> None:
    command = [sys.executable, "-m", "local.prices"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this program

    version = pricing.newest_price_list().version
    assert done.stdout.startswith(f"newest price list: {version}, ")


def test_a_deprecated_model_needs_a_price_until_it_retires(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = PriceList(version="2099-01", source="s", cache={}, models={})
    monkeypatch.setattr(pricing, "_lists", lambda: {empty.version: empty})

    assert "claude-sonnet-4-5" in missing_models(date(2026, 11, 30))[0]
    assert "claude-sonnet-4-5" in missing_models(date(2026, 12, 1))[1]
