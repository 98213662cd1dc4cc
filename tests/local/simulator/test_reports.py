"""The usage and the cost report: what the batches of the organization used, by day, for admin keys only."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import anthropic
import pytest

from local.simulator import Simulator
from local.simulator.reports import DELAY_S
from local.simulator.simulator import ADMIN_KEY

type Call = Callable[..., tuple[int, dict[str, str], bytes]]

USAGE, COST = "/v1/organizations/usage_report/messages", "/v1/organizations/cost_report"
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0
MONTH = {"starting_at": "2026-11-01T00:00:00Z", "ending_at": "2026-12-01T00:00:00Z", "limit": "31"}
LISTS = {"group_by", "workspace_ids", "service_tiers"}
VERSION = {"anthropic_version": "2023-06-01"}


@pytest.fixture
def report(send_raw: Call, simulator: Simulator) -> Callable[..., Any]:
    """Read a report as an admin, with the results of all its days."""
    simulator.clock = lambda: NOON + 2 * DAY_S

    def read(path: str, **parameters: Any) -> Any:
        query = {
            f"{name}[]" if name in LISTS else name: value
            for name, value in (MONTH | parameters).items()
        }
        url = f"{path}?{urlencode(query, doseq=True)}"
        status, _, body = send_raw("GET", url, x_api_key=ADMIN_KEY, **VERSION)
        assert status == 200, body
        answer = json.loads(body)
        return answer | {"results": [row for day in answer["data"] for row in day["results"]]}

    return read


@pytest.fixture
def two_days(
    simulator: Simulator, client: anthropic.Anthropic, make_requests: Callable[..., list[Any]]
) -> None:
    """Let three rows end on one day, one row of another workspace on the next, and one row of somebody else."""
    simulator.clock = lambda: NOON
    usage = '[usage:{"server_tool_use":{"web_search_requests":2}}]'
    client.messages.batches.create(requests=make_requests(3, usage))
    simulator.clock = lambda: NOON + DAY_S
    other = client.with_options(api_key="sk-other")
    other.messages.batches.create(requests=make_requests(1, model="claude-haiku-4-5"))
    simulator.add_foreign(1)


@pytest.mark.usefixtures("two_days")
def test_a_bucket_sums_what_was_used_on_its_day(report: Callable[..., Any]) -> None:
    answer = report(USAGE, group_by=["workspace_id", "model"], service_tiers="batch")

    days = {day["starting_at"]: day["results"] for day in answer["data"] if day["results"]}
    assert list(days) == ["2026-11-10T00:00:00Z", "2026-11-11T00:00:00Z"]
    (row,) = days["2026-11-10T00:00:00Z"]
    assert (row["workspace_id"], row["model"], row["service_tier"]) == (
        None,
        "claude-opus-5",
        None,
    )
    assert row["server_tool_use"] == {"web_search_requests": 6}
    assert {row["workspace_id"] for row in days["2026-11-11T00:00:00Z"]} == {"other", None}


@pytest.mark.usefixtures("two_days")
@pytest.mark.parametrize(
    ("parameters", "rows"),
    [
        ({}, 2),  # a row for each day
        ({"group_by": ["model", "workspace_id"]}, 3),
        ({"service_tiers": "standard"}, 0),
        ({"workspace_ids": "other"}, 1),
        ({"ending_at": "2026-11-11T00:00:00Z"}, 1),
        ({"starting_at": "2026-11-11T23:00:00Z"}, 1),  # snapped to the start of the day
    ],
)
def test_filters_and_groups_choose_the_rows(
    report: Callable[..., Any], parameters: dict[str, Any], rows: int
) -> None:
    assert len(report(USAGE, **parameters)["results"]) == rows


@pytest.mark.usefixtures("two_days")
def test_costs_in_cents_add_up_to_the_bill_and_to_what_others_did(
    report: Callable[..., Any], simulator: Simulator
) -> None:
    rows = report(COST, group_by=["description", "workspace_id"])["results"]

    foreign = [
        row for row in rows if (row["model"], row["workspace_id"]) == ("claude-haiku-4-5", None)
    ]
    all_usd, foreign_usd = (
        float(sum(Decimal(row["amount"]) for row in some)) / 100 for some in (rows, foreign)
    )
    assert foreign_usd > 0
    assert all_usd - foreign_usd == pytest.approx(simulator.bill().usd, abs=1e-12)
    searches = [row for row in rows if row["cost_type"] == "web_search"]
    assert [(row["amount"], row["service_tier"]) for row in searches] == [("6", None)]
    assert {row["service_tier"] for row in rows if row["cost_type"] == "tokens"} == {"batch"}


@pytest.mark.usefixtures("two_days")
def test_pages_have_as_many_buckets_as_the_limit(report: Callable[..., Any]) -> None:
    first = report(USAGE, limit="10")
    second = report(USAGE, limit="10", page=first["next_page"])

    assert (len(first["data"]), first["has_more"]) == (10, True)
    # Until the present day: later ones do not exist yet.
    assert [day["starting_at"][:10] for day in second["data"]] == ["2026-11-11", "2026-11-12"]
    assert (second["has_more"], second["next_page"]) == (False, None)
    assert len(report(USAGE, limit="1")["results"]) == 0


@pytest.mark.usefixtures("two_days")
def test_figures_are_five_minutes_late(report: Callable[..., Any], simulator: Simulator) -> None:
    for seconds, rows in ((DELAY_S - 1, 1), (DELAY_S + 1, 2)):
        simulator.clock = lambda seconds=seconds: NOON + DAY_S + seconds  # type: ignore[misc]
        assert len(report(USAGE)["results"]) == rows


@pytest.mark.parametrize("path", [USAGE, COST])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_api_key": ADMIN_KEY}, 200),
        ({}, 401),
        ({"x_api_key": "sk-local"}, 401),
        ({"authorization": f"Bearer {ADMIN_KEY}"}, 401),
    ],
)
def test_only_an_admin_key_reads_a_report(
    send_raw: Call, path: str, headers: dict[str, str], status: int
) -> None:
    url = f"{path}?{urlencode(MONTH)}"

    assert send_raw("GET", url, **VERSION, **headers)[0] == status


def test_an_admin_key_sends_no_batches(send_raw: Call) -> None:
    assert send_raw("GET", "/v1/messages/batches", x_api_key=ADMIN_KEY, **VERSION)[0] == 401


@pytest.mark.parametrize(
    ("path", "change", "message"),
    [
        (USAGE, {"starting_at": "2026-11-01"}, "starting_at: Input should be a time in RFC 3339"),
        (USAGE, {"limit": "32"}, "limit: Input should be an integer from 1 to 31"),
        (USAGE, {"bucket_width": "1h", "limit": "169"}, "from 1 to 168"),
        (USAGE, {"bucket_width": "2d"}, "bucket_width: '2d' is not a width"),
        (USAGE, {"group_by[]": "description"}, "group_by: 'description' is not one of"),
        (USAGE, {"color": "red"}, "color: Extra inputs are not permitted"),
        (USAGE, {"page": "2"}, "page: Input should be the next_page"),
        (COST, {"bucket_width": "1h"}, "bucket_width: '1h' is not a width"),
        (COST, {"group_by[]": "model"}, "group_by: 'model' is not one of"),
        (COST, {"service_tiers[]": "batch"}, "service_tiers[]: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_parameter_is_a_400(
    send_raw: Call, path: str, change: dict[str, str], message: str
) -> None:
    url = f"{path}?{urlencode(MONTH | change)}"
    status, _, body = send_raw("GET", url, x_api_key=ADMIN_KEY, **VERSION)

    assert status == 400
    assert message in json.loads(body)["error"]["message"]
