"""Compute what CloudWatch shows: a metric's statistic in each period, and the state of an alarm."""

import math
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from benchmarks.dashboard.day import Points
from benchmarks.dashboard.definition import Alarm, Metric


def data_points(
    points: Points, metric: Metric, begin: datetime, end: datetime
) -> list[tuple[datetime, float]]:
    """Return the beginning of each period that has values, and the statistic of these."""
    values: dict[float, list[float]] = defaultdict(list)
    for time, value in points.get((metric.name, metric.resource), ()):
        if begin <= time < end:
            seconds = time.timestamp()
            values[seconds - seconds % metric.period_s].append(value)
    return [
        (datetime.fromtimestamp(second, begin.tzinfo), _statistic(metric.statistic, group))
        for second, group in sorted(values.items())
    ]


def _statistic(name: str, values: Sequence[float]) -> float:
    if name == "Sum":
        return sum(values)
    if name == "Maximum":
        return max(values)
    percent = float(name.removeprefix("p"))
    return sorted(values)[math.ceil(percent / 100 * len(values)) - 1]


def is_raised(points: Points, alarm: Alarm, now: datetime) -> bool:
    """Return whether the alarm is on, by its last whole period."""
    begin = now - timedelta(seconds=alarm.metric.period_s)
    data = data_points(points, alarm.metric, begin, now)
    if not data:
        return alarm.is_missing_bad
    value = data[-1][1]
    return value < alarm.threshold if alarm.is_below else value > alarm.threshold
