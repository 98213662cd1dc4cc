"""The first rows of a job are sent alone, and show what the others will cost."""

import json
from typing import Any

import pytest

from tests.harness import Harness, make_row, succeeded
from tests.integration.test_budgets import KEY, OPTIONS, events_of_type, status
from tests.verification.crash.jobs import HALF_PRICES

ROWS, PILOT_ROWS = 50, 10
INPUT_PRICE, OUTPUT_PRICE = HALF_PRICES["claude-haiku-4-5"]
USAGE = f"[usage:{json.dumps({'input_tokens': 100, 'output_tokens': 200})}]"
ROW_USD = (100 * INPUT_PRICE + 200 * OUTPUT_PRICE) / 1e6


def upload(relay: Harness, options: bytes, *, failing: int = 0) -> None:
    """Upload a job of which the first rows fail."""
    marks = ["[fate:invalid_request_error]" if n <= failing else "" for n in range(1, ROWS + 1)]
    rows = [make_row(n, f"{mark} {USAGE}") for n, mark in enumerate(marks, 1)]
    relay.upload(OPTIONS, options)
    relay.upload(KEY, b"\n".join(rows))
    for _ in range(9):
        relay.tick(600.0)


def sent(relay: Harness) -> int:
    return sum(relay.simulator.accepted_params().values())


def pilot_of(relay: Harness) -> dict[str, Any]:
    (pilot,) = events_of_type(relay, "job.pilot")
    return pilot


def test_the_pilot_goes_alone_and_the_rest_waits_for_a_marker(relay: Harness) -> None:
    upload(relay, b"pilot_rows = 10")
    pilot = pilot_of(relay)

    assert sent(relay) == PILOT_ROWS
    assert (pilot["rows"], pilot["succeeded"], pilot["rest_rows"]) == (10, 10, 40)
    assert (pilot["input_tokens_per_row"], pilot["output_tokens_per_row"]) == (100, 200)
    assert pilot["cost_usd"] == pytest.approx(PILOT_ROWS * ROW_USD)
    assert pilot["rest_cost_usd"] == pytest.approx(40 * ROW_USD)
    assert not pilot["goes_on"]
    waiting = status(relay)
    assert waiting["waiting_for"] == "go"
    assert waiting["pilot"] == {name: pilot[name] for name in waiting["pilot"]}
    assert waiting["pilot"]["rest_cost_usd"] == pilot["rest_cost_usd"]
    (reason,) = waiting["waiting"]
    assert reason["message"].startswith(
        "10 of 10 rows of the pilot succeeded with 100 input and 200 output tokens per row"
    )
    assert f"{KEY}.go (`relay go`) to send the rest" in reason["resolution"]

    relay.upload(KEY + ".go", b"")
    relay.finish()
    assert all(succeeded(relay, KEY))
    assert len(relay.lines(KEY)) == ROWS
    assert sent(relay) == ROWS


@pytest.mark.parametrize(
    ("options", "failing", "goes_on"),
    [
        (b"pilot_auto = true", 0, True),
        (b"pilot_auto = true\nbudget_usd = 1", 0, True),
        (b"pilot_auto = false", 0, False),
        (b"pilot_auto = true", 1, False),  # a tenth
    ],
)
def test_the_rest_is_sent_automatically_if_allowed(
    relay: Harness, options: bytes, failing: int, *, goes_on: bool
) -> None:
    upload(relay, b"pilot_rows = 10\n" + options, failing=failing)

    assert pilot_of(relay)["goes_on"] is goes_on
    assert sent(relay) == (ROWS if goes_on else PILOT_ROWS)


def test_a_projection_over_the_budget_waits_even_if_the_job_was_released(relay: Harness) -> None:
    upload(relay, b"pilot_rows = 10\npilot_auto = true\nbudget_usd = 0.005")
    assert sent(relay) == 0
    relay.upload(KEY + ".go", b"")
    for _ in range(5):
        relay.tick(600.0)

    assert pilot_of(relay)["budget_usd"] == 0.005
    assert sent(relay) == PILOT_ROWS
    relay.upload(KEY + ".go", b"")
    relay.finish()
    assert all(succeeded(relay, KEY))


def test_the_projection_is_compared_with_the_budget_that_released_the_job(relay: Harness) -> None:
    upload(relay, b"pilot_rows = 10\npilot_auto = true\nbudget_usd = 0.005")
    relay.upload(OPTIONS, b"pilot_rows = 10\npilot_auto = true\nbudget_usd = 1")
    for _ in range(5):
        relay.tick(600.0)

    pilot = pilot_of(relay)
    assert (pilot["budget_usd"], pilot["goes_on"]) == (1, True)
    assert sent(relay) == ROWS


def test_a_marker_for_the_budget_does_not_release_what_no_pilot_has_measured(
    relay: Harness,
) -> None:
    """All rows of the pilot are rejected before they are sent."""
    relay.upload(OPTIONS, b"pilot_rows = 2\nbudget_usd = 0.000001")
    relay.upload(KEY, b"{broken\n{broken\n" + make_row(3))
    relay.tick()
    relay.upload(KEY + ".go", b"")
    for _ in range(5):
        relay.tick(600.0)

    pilot = pilot_of(relay)
    assert (pilot["rows"], pilot["rest_cost_usd"]) == (2, None)
    assert sent(relay) == 0
    relay.upload(KEY + ".go", b"")
    relay.finish()
    assert succeeded(relay, KEY) == [False, False, True]


def test_a_pilot_measures_what_no_worst_case_bounds(relay: Harness) -> None:
    """The answers say what searches, PDFs and other input of unknown length took."""
    search = [{"type": "web_search_20250305", "name": "web_search"}]
    relay.upload(OPTIONS, b"pilot_rows = 10\npilot_auto = true\nbudget_usd = 1")
    relay.upload(KEY, b"\n".join(make_row(n, USAGE, tools=search) for n in range(1, ROWS + 1)))
    relay.tick()
    assert status(relay)["waiting_for"] == "price"
    relay.upload(KEY + ".go", b"")
    relay.finish()

    pilot = pilot_of(relay)
    assert pilot["rest_cost_usd"] == pytest.approx(40 * (ROW_USD + 0.01))  # one search a row
    assert pilot["goes_on"]
    assert sent(relay) == ROWS


def test_a_pilot_whose_cost_is_unknown_goes_on_only_without_a_budget(relay: Harness) -> None:
    usage = json.dumps({"input_tokens": 1, "output_tokens": 1, "speed": "fast"})
    rows = [make_row(n, f"[usage:{usage}]") for n in range(1, ROWS + 1)]
    relay.upload(OPTIONS, b"pilot_rows = 10\npilot_auto = true\nbudget_usd = 1")
    relay.upload(KEY, b"\n".join(rows))
    for _ in range(9):
        relay.tick(600.0)

    assert pilot_of(relay)["cost_usd"] is None
    assert sent(relay) == PILOT_ROWS


def test_a_pilot_that_is_split_is_measured_as_a_whole(relay: Harness) -> None:
    relay.simulator.arm("too_large", times=0, more_than=5)
    upload(relay, b"pilot_rows = 10")

    assert pilot_of(relay)["rows"] == PILOT_ROWS
    assert sent(relay) == PILOT_ROWS


def test_an_upload_no_longer_than_its_pilot_just_ends(relay: Harness) -> None:
    upload(relay, b"pilot_rows = 50")
    relay.finish()

    assert all(succeeded(relay, KEY))
    assert events_of_type(relay, "job.pilot") == []


def test_a_job_whose_rest_waits_can_be_canceled(relay: Harness) -> None:
    upload(relay, b"pilot_rows = 10")
    relay.upload(KEY + ".cancel", b"")
    relay.finish()

    assert relay.manifest(KEY)["counts"] == {"succeeded": 10, "canceled": 40}
