"""The stateful resources: buckets, table, queues, topic and the API key's secret.

No resource has a name that two stacks could both claim. S3 notifies the submit queue directly,
because `Bucket.add_event_notification` would deploy a Lambda function of its own.
"""

from collections.abc import Sequence

from aws_cdk import ArnFormat, Duration, RemovalPolicy, SecretValue, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from functions.adapters.secret import UNSET_KEY
from functions.model.items.work_item import UNFINISHED_INDEX
from infra.nag import acknowledge
from infra.settings import StackSettings

STAGE_TIMEOUT = Duration.minutes(15)
"""Timeout of submit and results: the maximum of Lambda."""

VISIBILITY = Duration.minutes(16)
"""Visibility timeout of messages: longer than any stage may run.

AWS recommends six times the function's timeout, so that throttled messages do not return while
Lambda retries. Here an early return is harmless, and after a crash it would delay an upload by 90
minutes.
"""

MAX_RECEIVES = 1000
"""Receives before a message is moved to the dead-letter queue: days, at 16 minutes each.

Throttled receives count too. The table counts the tries of each item separately.
"""


class Storage(Construct):
    """The buckets, table, queues, events topic and secret."""

    def __init__(self, scope: Construct, *, settings: StackSettings) -> None:
        super().__init__(scope, "Storage")
        self.removal_policy = RemovalPolicy(settings.removal_policy.upper())
        self.submit_queue, self.submit_dead = self._queue("Submit")
        self.results_queue, self.results_dead = self._queue("Results")
        self.uploads = self._uploads(retention=Duration.days(settings.retention_days))
        self.results = self._results()
        self.table = self._table()
        self.events = sns.Topic(self, "Events", enforce_ssl=True)
        self.secret_name = settings.secret_name or self._secret(
            f"{settings.stack_name}/anthropic-api-key"
        )
        self._notify_submit_queue()

    @property
    def secret_arn(self) -> str:
        """The ARN of the API key's secret."""
        return self.arn_of_secret(self.secret_name)

    def arn_of_secret(self, name: str) -> str:
        """Return the ARN of a secret, built from its name; Secrets Manager appends six random characters."""
        return Stack.of(self).format_arn(
            service="secretsmanager",
            resource="secret",
            resource_name=f"{name}-??????",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def _queue(self, name: str) -> tuple[sqs.Queue, sqs.Queue]:
        """Create a queue and its dead-letter queue; both retain messages for two weeks."""
        dead = dead_letters(self, f"{name}Dead", retention=Duration.days(14))
        queue = sqs.Queue(
            self,
            f"{name}Queue",
            visibility_timeout=VISIBILITY,
            retention_period=Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=MAX_RECEIVES),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
        )
        return queue, dead

    def _uploads(self, *, retention: Duration) -> s3.Bucket:
        return self._bucket(
            "Uploads",
            versioned=True,
            # A large upload over a slow line takes days.
            abort_multipart_after=Duration.days(7),
            rules=[
                s3.LifecycleRule(
                    id="old-versions",
                    noncurrent_version_expiration=retention,
                    expired_object_delete_marker=True,
                )
            ],
        )

    def _results(self) -> s3.Bucket:
        return self._bucket(
            "Results",
            versioned=False,
            # No stage runs for more than 15 minutes, and none resumes another's upload.
            abort_multipart_after=Duration.days(1),
            rules=[
                # Not by age alone, because a job may wait for weeks. Results tags the files of a job
                # that has ended. S3 counts the days from when each file was written.
                s3.LifecycleRule(
                    id="work-of-done-jobs",
                    prefix="work/",
                    tag_filters={"done": "true"},
                    expiration=Duration.days(7),
                )
            ],
        )

    def _bucket(
        self,
        name: str,
        *,
        versioned: bool,
        abort_multipart_after: Duration,
        rules: Sequence[s3.LifecycleRule],
    ) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            name,
            versioned=versioned,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            removal_policy=self.removal_policy,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="unfinished-multipart",
                    abort_incomplete_multipart_upload_after=abort_multipart_after,
                ),
                *rules,
            ],
        )
        acknowledge(
            bucket,
            "AwsSolutions-S1",
            "Access logs need a third bucket, which costs money while nothing runs. An account can "
            "enable CloudTrail data events instead.",
        )
        return bucket

    def _table(self) -> dynamodb.Table:
        table = dynamodb.Table(
            self,
            "Table",
            partition_key=_text("job"),
            sort_key=_text("item"),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="expires",
            removal_policy=self.removal_policy,
        )
        table.add_global_secondary_index(
            index_name=UNFINISHED_INDEX,
            partition_key=_text("open"),
            sort_key=_text("status_key"),
            projection_type=dynamodb.ProjectionType.ALL,
        )
        return table

    def _secret(self, name: str) -> str:
        secret = secretsmanager.Secret(
            self,
            "ApiKey",
            secret_name=name,
            description="The Anthropic API key of claude-batch-relay, as plain text or JSON",
            secret_string_value=SecretValue.unsafe_plain_text(UNSET_KEY),
        )
        # A retained secret would block its name for the next stack of the same name.
        secret.apply_removal_policy(RemovalPolicy.DESTROY)
        acknowledge(
            secret,
            "AwsSolutions-SMG4",
            "Anthropic's keys are created in its console and cannot be rotated from here.",
        )
        return name

    def _notify_submit_queue(self) -> None:
        """Configure S3 to send an event for every created object to the submit queue.

        The queue's policy must exist before the bucket's notification, so it cannot name the
        bucket. It allows buckets of this account whose names start with the stack's name, which
        CloudFormation shortens.
        """
        stack = Stack.of(self)
        self.submit_queue.add_to_resource_policy(
            iam.PolicyStatement(
                sid="AllowS3Events",
                principals=[iam.ServicePrincipal("s3.amazonaws.com")],
                actions=["sqs:SendMessage"],
                resources=[self.submit_queue.queue_arn],
                conditions={
                    "StringEquals": {"aws:SourceAccount": stack.account},
                    "ArnLike": {
                        "aws:SourceArn": f"arn:{stack.partition}:s3:::{stack.stack_name[:20].lower()}*"
                    },
                },
            )
        )
        bucket = self.uploads.node.default_child
        assert isinstance(bucket, s3.CfnBucket)  # noqa: S101  # narrows the type
        bucket.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            queue_configurations=[
                s3.CfnBucket.QueueConfigurationProperty(
                    event="s3:ObjectCreated:*", queue=self.submit_queue.queue_arn
                )
            ]
        )
        bucket.node.add_dependency(self.submit_queue.node.find_child("Policy"))


def dead_letters(scope: Construct, name: str, *, retention: Duration) -> sqs.Queue:
    """Create a dead-letter queue."""
    queue = sqs.Queue(
        scope,
        name,
        retention_period=retention,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
    )
    acknowledge(queue, "AwsSolutions-SQS3", "This queue is a dead-letter queue itself.")
    return queue


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
