"""The daily look through the uploads bucket: submit claims what S3's events never told of."""

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.schedule import Schedule, wake_on_schedule

AGE = Duration.hours(6)
"""A look that comes late is still worth something, but the next day's does its work, too."""


class Reconciliation(Construct):
    """Wakes a function once a day, with the pages that it may list; its failures are kept."""

    def __init__(
        self, scope: Construct, *, function: lambda_.Function, failures: sqs.Queue, pages: int
    ) -> None:
        super().__init__(scope, "Reconciliation")
        daily = Schedule(
            description="Wakes claude-batch-relay's submit, to look for uploads without a job",
            rate="1 day",
            payload=f'{{"reconcile": {pages}}}',
            max_age=AGE,
            retries=2,
        )
        wake_on_schedule(self, daily, function=function, failures=failures)
