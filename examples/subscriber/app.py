"""The subscriber for the CDK: the function, its subscription, and the table of the events it has seen.

Context: ``topic`` is the ARN of the events' topic, ``bucket`` the name of the results bucket.
"""

from pathlib import Path

from aws_cdk import App, Duration, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from aws_cdk import aws_sqs as sqs
from constructs import Construct

TYPES = ["job.completed", "job.rejected"]


class Subscriber(Stack):
    """A function that takes each end of a job once."""

    def __init__(self, scope: Construct, *, topic_arn: str, results_bucket: str) -> None:
        super().__init__(scope, "relay-subscriber")
        seen = dynamodb.Table(
            self,
            "Seen",
            partition_key=dynamodb.Attribute(name="id", type=dynamodb.AttributeType.STRING),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            time_to_live_attribute="expires",
        )
        function = lambda_.Function(
            self,
            "Subscriber",
            code=lambda_.Code.from_asset(str(Path(__file__).parent)),
            handler="subscriber.handler",
            runtime=lambda_.Runtime.PYTHON_3_13,
            architecture=lambda_.Architecture.ARM_64,
            timeout=Duration.minutes(5),
            memory_size=256,
            environment={"SEEN_TABLE": seen.table_name},
            on_failure=destinations.SqsDestination(sqs.Queue(self, "Failed")),
        )
        seen.grant(function, "dynamodb:GetItem", "dynamodb:PutItem")
        bucket = s3.Bucket.from_bucket_name(self, "Results", results_bucket)
        bucket.grant_read(function, "results/*")
        subscription = subscriptions.LambdaSubscription(
            function,
            filter_policy={"type": sns.SubscriptionFilter.string_filter(allowlist=TYPES)},
        )
        sns.Topic.from_topic_arn(self, "Events", topic_arn).add_subscription(subscription)


def build(app: App) -> Subscriber:
    """Build the stack that the context describes."""
    topic, bucket = (app.node.get_context(name) for name in ("topic", "bucket"))
    return Subscriber(app, topic_arn=topic, results_bucket=bucket)


if __name__ == "__main__":
    application = App()
    build(application)
    application.synth()
