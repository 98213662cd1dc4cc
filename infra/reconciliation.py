"""The daily search of the uploads bucket, in which submit claims uploads whose S3 event was lost."""

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.schedule import Schedule, invoke_on_schedule

MAX_AGE = Duration.hours(6)
"""A later invocation is dropped: the next day's does its work."""


class Reconciliation(Construct):
    """Invoke a function once a day with the number of pages it may list; keep failures in a queue."""

    def __init__(
        self, scope: Construct, *, function: lambda_.Function, failures: sqs.Queue, pages: int
    ) -> None:
        super().__init__(scope, "Reconciliation")
        daily = Schedule(
            description="Invokes submit of claude-batch-relay to find uploads without a job",
            rate="1 day",
            payload=f'{{"reconcile": {pages}}}',
            max_age=MAX_AGE,
            retries=2,
        )
        invoke_on_schedule(self, daily, function=function, failures=failures)
