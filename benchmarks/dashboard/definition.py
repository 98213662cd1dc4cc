"""Read the dashboard and the alarms from the synthesized template."""

import json
import re
from dataclasses import dataclass
from typing import Any

from infra.synth import synthesize

FIVE_MINUTES_S = 300
_LOGICAL_ID = re.compile(r"(.+?)[0-9A-F]{8}")


@dataclass(frozen=True)
class Metric:
    """A line of a graph, or what an alarm watches.

    Attributes:
        name: the metric.
        resource: the logical id of the function or queue, without its hash; the stack for metrics of the relay.
        statistic: ``Sum``, ``Maximum``, ``p95`` and so on.
        period_s: the seconds of a data point.
        label: its name in the legend.
    """

    name: str
    resource: str
    statistic: str
    period_s: int
    label: str = ""


@dataclass(frozen=True)
class Widget:
    """A widget and its place, in units of the dashboard's grid of 24 columns.

    Attributes:
        days: the days that a graph shows.
        limit: the value of its horizontal line, if any.
    """

    title: str
    x: int
    y: int
    width: int
    height: int
    metrics: tuple[Metric, ...]
    days: int
    limit: float | None


@dataclass(frozen=True)
class Alarm:
    """An alarm of the stack.

    Attributes:
        name: without the name of the stack.
        is_missing_bad: whether no data raises it.
    """

    name: str
    metric: Metric
    threshold: float
    is_below: bool
    is_missing_bad: bool


@dataclass(frozen=True)
class Definition:
    """The dashboard as the template has it. The widget without metrics shows the alarms."""

    widgets: tuple[Widget, ...]
    alarms: tuple[Alarm, ...]


def read_definition(**context: object) -> Definition:
    """Read the definition of a stack with a dashboard.

    Args:
        **context: settings as in cdk.json.
    """
    resources = synthesize(dashboard="true", **context)["Resources"]
    by_type: dict[str, list[tuple[str, Any]]] = {}
    for logical_id, resource in resources.items():
        by_type.setdefault(resource["Type"], []).append((logical_id, resource.get("Properties")))
    ((_, board),) = by_type["AWS::CloudWatch::Dashboard"]
    alarms = {name: _alarm(alarm) for name, alarm in by_type["AWS::CloudWatch::Alarm"]}
    body = json.loads(_join(board["DashboardBody"]))
    shown = [
        alarms[name]
        for widget in body["widgets"]
        for name in widget["properties"].get("alarms", ())
    ]
    return Definition(
        widgets=tuple(_widget(widget, _days(body["start"])) for widget in body["widgets"]),
        alarms=tuple(shown),
    )


def _join(body: Any) -> str:  # noqa: ANN401 - CloudFormation's JSON
    """Return the body with the logical id in place of each reference."""
    _, parts = body["Fn::Join"]
    return "".join(part if isinstance(part, str) else _logical_id(part) for part in parts)


def _logical_id(reference: Any) -> str:  # noqa: ANN401 - as above
    if isinstance(reference, str):
        return reference
    ((_, target),) = reference.items()
    return str(target if isinstance(target, str) else target[0])


def _resource(logical_id: str) -> str:
    match = _LOGICAL_ID.fullmatch(logical_id)
    return match[1] if match else logical_id


def _days(start: str) -> int:
    return int(start.removeprefix("-P").removesuffix("D"))


def _widget(widget: Any, days: int) -> Widget:  # noqa: ANN401 - as above
    properties = widget["properties"]
    lines = properties.get("annotations", {}).get("horizontal", [])
    return Widget(
        title=properties["title"],
        x=widget["x"],
        y=widget["y"],
        width=widget["width"],
        height=widget["height"],
        metrics=tuple(map(_metric, properties.get("metrics", ()))),
        days=_days(properties["start"]) if "start" in properties else days,
        limit=lines[0]["value"] if lines else None,
    )


def _metric(metric: Any) -> Metric:  # noqa: ANN401 - as above
    _namespace, name, _dimension, value, options = metric
    return Metric(
        name=name,
        resource=_resource(value),
        statistic=options["stat"],
        period_s=options.get("period", FIVE_MINUTES_S),
        label=options["label"],
    )


def _alarm(alarm: Any) -> Alarm:  # noqa: ANN401 - as above
    (dimension,) = alarm["Dimensions"]
    return Alarm(
        name=alarm["AlarmName"].removeprefix("claude-batch-relay-"),
        metric=Metric(
            name=alarm["MetricName"],
            resource=_resource(_logical_id(dimension["Value"])),
            statistic=alarm["Statistic"],
            period_s=alarm["Period"],
        ),
        threshold=alarm["Threshold"],
        is_below=alarm["ComparisonOperator"] == "LessThanThreshold",
        is_missing_bad=alarm["TreatMissingData"] == "breaching",
    )
