"""The dashboard: is the stack healthy, what does it cost, what is stuck, and who waits."""

from collections.abc import Mapping

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.alarms import Alarms
from infra.relay_metric import relay_metric
from infra.settings import StackSettings
from infra.stage import Stage
from infra.storage import Storage

_HALF, _THIRD = 12, 8
_MINUTES = Duration.minutes(5)


class Dashboard(Construct):
    """One CloudWatch dashboard, named after the stack."""

    def __init__(
        self,
        scope: Construct,
        *,
        settings: StackSettings,
        storage: Storage,
        stages: Mapping[str, Stage],
        alarms: Alarms,
    ) -> None:
        super().__init__(scope, "Dashboard")
        self._service = settings.stack_name
        functions = {name: stage.function for name, stage in stages.items()}
        queues = {"submit": storage.submit_queue, "results": storage.results_queue}
        dead = {"uploads": storage.submit_dead, "results": storage.results_dead}
        cloudwatch.Dashboard(
            self,
            "Board",
            dashboard_name=settings.stack_name,
            default_interval=Duration.days(1),
            # CloudWatch would adapt periods to the time range: dollars a day would become dollars an hour.
            period_override=cloudwatch.PeriodOverride.INHERIT,
            widgets=[
                [cloudwatch.AlarmStatusWidget(title="Is it healthy?", alarms=alarms.all, width=24)],
                [
                    self._graph("Errors of functions", [f.metric_errors(label=n) for n, f in functions.items()]),
                    self._graph("Throttles", [f.metric_throttles(label=n) for n, f in functions.items()]),
                    self._graph("Paused, limited or silent", [
                        self._own("Paused", "Maximum", "paused"),
                        self._own("RateLimited", "Sum", "answers 429"),
                        self._own("SilentMinutes", "Maximum", "silent minutes"),
                    ]),
                ],
                [
                    self._graph(
                        "Dollars a day", [self._own("CostUsd", "Sum", "dollars", Duration.days(1))],
                        width=_HALF, start="-P14D",
                    ),
                    self._graph("Rows by outcome, an hour", [
                        self._own(f"Rows{outcome}", "Sum", outcome.lower(), Duration.hours(1))
                        for outcome in ("Succeeded", "Errored", "Canceled", "Expired", "Rejected")
                    ], width=_HALF),
                ],
                [
                    self._graph("Stuck, or accepted twice", [
                        self._own("Stuck", "Maximum", "stuck"), self._own("Duplicate", "Maximum", "accepted twice"),
                    ]),
                    self._graph("Dead letters", [
                        queue.metric_approximate_number_of_messages_visible(label=name, statistic="Maximum")
                        for name, queue in dead.items()
                    ]),
                    self._graph(
                        "Hours since the oldest batch was sent", [self._own("OldestBatchHours", "Maximum", "oldest")], limit=24
                    ),
                ],
                [
                    self._graph("Batches at Anthropic, and waiting", [
                        self._own("OpenBatches", "Maximum", "open"), self._own("Waiting", "Maximum", "waiting"),
                    ], width=_HALF, limit=settings.open_batches),
                    self._graph(
                        "Requests at Anthropic", [self._own("OpenRequests", "Maximum", "open")],
                        width=_HALF, limit=settings.queued_requests,
                    ),
                ],
                [
                    self._graph("Messages in queues", [
                        queue.metric_approximate_number_of_messages_visible(label=name, statistic="Maximum")
                        for name, queue in queues.items()
                    ], width=_HALF),
                    self._graph("Seconds that the oldest message waits", [
                        queue.metric_approximate_age_of_oldest_message(label=name) for name, queue in queues.items()
                    ], width=_HALF),
                ],
                [
                    self._graph("Seconds from upload to created", self._times("CreatedAfterSeconds"), width=_HALF),
                    self._graph("Seconds from ended to completed", self._times("CompletedAfterSeconds"), width=_HALF),
                ],
            ],
        )  # fmt: skip

    def _own(
        self, name: str, statistic: str, label: str, period: Duration = _MINUTES
    ) -> cloudwatch.Metric:
        return relay_metric(self._service, name, statistic, period).with_(label=label)

    def _times(self, name: str) -> list[cloudwatch.Metric]:
        labels = {"p50": "median", "p95": "95th percentile", "Maximum": "longest"}
        return [self._own(name, statistic, label) for statistic, label in labels.items()]

    def _graph(
        self,
        title: str,
        metrics: list[cloudwatch.Metric],
        *,
        width: int = _THIRD,
        limit: float | None = None,
        start: str | None = None,
    ) -> cloudwatch.GraphWidget:
        lines = (
            [] if limit is None else [cloudwatch.HorizontalAnnotation(value=limit, label="limit")]
        )
        return cloudwatch.GraphWidget(
            title=title,
            left=[*metrics],
            width=width,
            left_y_axis=cloudwatch.YAxisProps(min=0),
            left_annotations=lines,
            start=start,
        )
