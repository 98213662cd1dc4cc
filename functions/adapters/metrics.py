"""The metrics of the dashboard, as lines in CloudWatch's embedded metric format (EMF).

Only a stack with a dashboard writes them, because each custom metric costs money. Poll's own metrics, for the alarms,
are always written.
"""

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

NAMESPACE = "claude-batch-relay"
UNITS = {
    "OpenRequests": MetricUnit.Count,
    "RateLimited": MetricUnit.Count,
    "CreatedAfterSeconds": MetricUnit.Seconds,
    "CompletedAfterSeconds": MetricUnit.Seconds,
    "CostUsd": MetricUnit.NoUnit,
    "RowsSucceeded": MetricUnit.Count,
    "RowsErrored": MetricUnit.Count,
    "RowsCanceled": MetricUnit.Count,
    "RowsExpired": MetricUnit.Count,
    "RowsRejected": MetricUnit.Count,
}
"""The dashboard's metrics; docs/operate.md says what each one measures."""


def emit(**values: float) -> None:
    """Write values of the dashboard's metrics as one line. Their dimension is the service, which is the stack."""
    metrics = EphemeralMetrics(namespace=NAMESPACE)
    for name, value in values.items():
        metrics.add_metric(name, UNITS[name], value)
    metrics.flush_metrics()
