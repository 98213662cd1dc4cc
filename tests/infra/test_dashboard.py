"""The dashboard is there on request, and shows only metrics that the functions write."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from functions.adapters.metrics import NAMESPACE, UNITS
from functions.model import timestamps
from functions.model.records import LedgerCheck
from functions.polling.poll_summary import PollSummary
from infra.bundle import ROOT
from infra.settings import StackSettings
from infra.synth import synthesize
from tests.harness import make_row, open_harness
from tests.unit.factories import AT

type FindResources = Callable[..., dict[str, dict[str, Any]]]

GUIDE = Path(ROOT, "docs", "operate.md")
SUMMARY = PollSummary(silent_since=AT, ledger_check=LedgerCheck(checked_at=AT))
OF_POLL = set(SUMMARY.metric_values(timestamps.now()))
OWN = rf'"{NAMESPACE}","(\w+)"'


@pytest.fixture(scope="module")
def shown() -> str:
    """Return the dashboard's definition, without the names of resources."""
    resources = synthesize(dashboard="true")["Resources"].values()
    (board,) = [r["Properties"] for r in resources if r["Type"] == "AWS::CloudWatch::Dashboard"]
    assert board["DashboardName"] == "claude-batch-relay"
    _, parts = board["DashboardBody"]["Fn::Join"]
    return "".join(part for part in parts if isinstance(part, str))


@pytest.fixture(scope="module")
def emitted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Run a job whose rows end in each way, on a stack with a dashboard; return its metrics."""
    patch, out = pytest.MonkeyPatch(), io.StringIO()
    patch.setattr("sys.stdout", out)
    with open_harness(tmp_path_factory.mktemp("metrics")) as relay:
        relay.deploy(dashboard=True)
        relay.simulator.arm("rate_limited")
        texts = ["hello", "[fate:errored]", "[fate:expired]"]
        rows = [make_row(number, text) for number, text in enumerate(texts, 1)]
        relay.upload("in/march.jsonl", b"\n".join([*rows, b"{}"]))
        relay.finish()
        relay.poll.emit_metrics(OpenRequests=relay.tick().open_requests)
    patch.undo()
    metrics = [json.loads(line) for line in out.getvalue().splitlines() if '"_aws"' in line]
    return {
        name: [line[name] for line in metrics if name in line]
        for name in {name for line in metrics for name in line} & set(UNITS)
    }


def test_there_is_no_dashboard_by_default(resources_of: FindResources) -> None:
    assert not StackSettings().dashboard
    assert resources_of("AWS::CloudWatch::Dashboard") == {}


def test_the_functions_write_each_metric_of_the_dashboard(
    emitted: dict[str, list[float]],
) -> None:
    assert set(emitted) == set(UNITS)


def test_only_first_attempts_count_as_time_from_upload_to_created(
    emitted: dict[str, list[float]],
) -> None:
    """The expired row is sent again, and that says nothing about the relay's own delay."""
    assert len(emitted["CreatedAfterSeconds"]) == 1


def test_what_the_dashboard_and_the_alarms_show_is_written(
    shown: str, resources_of: FindResources
) -> None:
    alarms = resources_of("AWS::CloudWatch::Alarm").values()
    watched = {a["MetricName"] for a in alarms if a.get("Namespace") == NAMESPACE}
    names = set(re.findall(OWN, shown))

    assert set(UNITS) <= names <= set(UNITS) | OF_POLL
    assert watched <= OF_POLL


def test_a_day_is_a_day_whatever_time_range_is_chosen(shown: str) -> None:
    assert '"periodOverride":"inherit"' in shown
    assert '"label":"dollars","period":86400,"stat":"Sum"' in shown


def test_the_limits_of_the_stack_are_drawn(shown: str) -> None:
    assert '"value":1000' in shown
    assert '"value":200000' in shown


def test_the_operators_guide_lists_each_metric() -> None:
    (part, *_) = GUIDE.read_text("utf-8").split("\n## Dashboard\n")[1].split("\n## ")
    cells = re.findall(r"^\| (`[^|]+) \|", part, re.MULTILINE)

    assert {name for cell in cells for name in re.findall(r"`(\w+)`", cell)} == (
        set(UNITS) | OF_POLL
    )
