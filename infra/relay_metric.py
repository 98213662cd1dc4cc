"""Name the metrics that the functions write themselves."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from functions.adapters.metrics import NAMESPACE


def relay_metric(
    stack_name: str, name: str, statistic: str, period: Duration
) -> cloudwatch.Metric:
    """Return a metric of this stack. Its dimension is the service, which is the stack's name."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={"service": stack_name},
        statistic=statistic,
        period=period,
    )
