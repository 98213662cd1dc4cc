"""What lasts: buckets, table, queues, topic and the API key's secret.

Nothing here has a name that two stacks could fight over. S3 tells the submit queue about uploads
natively: `Bucket.add_event_notification` would deploy a Lambda of its own for it.
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
from functions.model.items import UNFINISHED
from infra.nag import acknowledge
from infra.settings import StackSettings

STAGE_TIMEOUT = Duration.minutes(15)
"""How long submit and results may run: Lambda's longest."""

VISIBILITY = Duration.minutes(16)
"""How long a message is hidden while a stage works on it: longer than any stage may run.

AWS recommends six times the function's timeout, so that a throttled batch of messages does not come back while Lambda
still retries it. Here a message is a batch of its own, one that comes back too early changes nothing, and a killed
stage's upload would be hidden for an hour and a half.
"""

MAX_RECEIVES = 1000
"""Receives before a message counts as dead: days, at a quarter of an hour each. A throttled receive counts, too, and
how often an item was tried is counted in the table."""


class Storage(Construct):
    """Where everything lies, whom it tells, and the key it is sent with."""

    def __init__(self, scope: Construct, *, settings: StackSettings) -> None:
        super().__init__(scope, "Storage")
        self.kept = RemovalPolicy(settings.removal_policy.upper())
        self.submit_queue, self.submit_dead = self._queue("Submit")
        self.results_queue, self.results_dead = self._queue("Results")
        self.uploads = self._uploads(retention=Duration.days(settings.retention_days))
        self.results = self._results()
        self.table = self._table()
        self.events = sns.Topic(self, "Events", enforce_ssl=True)
        self.secret_name = settings.secret_name or self._secret(
            f"{settings.stack_name}/anthropic-api-key"
        )
        self._tell_the_submit_queue()

    @property
    def secret_arn(self) -> str:
        """The secret's ARN, by its name alone; Secrets Manager ends it with six signs of its own."""
        return Stack.of(self).format_arn(
            service="secretsmanager",
            resource="secret",
            resource_name=f"{self.secret_name}-??????",
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )

    def _queue(self, name: str) -> tuple[sqs.Queue, sqs.Queue]:
        """Make a queue and where its dead messages go; both keep them two weeks."""
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
            # People's own uploads: a large one over a slow line takes days.
            unfinished=Duration.days(7),
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
            # No stage runs longer than a quarter of an hour, and none goes on with another's.
            unfinished=Duration.days(1),
            rules=[
                # Never by age alone: a job may wait for weeks. Results tags the files of a job that has ended; the
                # days count from when each was written.
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
        unfinished: Duration,
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
            removal_policy=self.kept,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="unfinished-multipart",
                    abort_incomplete_multipart_upload_after=unfinished,
                ),
                *rules,
            ],
        )
        acknowledge(
            bucket,
            "AwsSolutions-S1",
            "Access logs would be a third bucket that costs while nothing runs; CloudTrail data "
            "events can be switched on for an account that wants them.",
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
            removal_policy=self.kept,
        )
        table.add_global_secondary_index(
            index_name=UNFINISHED,
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
        # A name in use cannot be made again: a key is quicker fetched anew than a stack renamed.
        secret.apply_removal_policy(RemovalPolicy.DESTROY)
        acknowledge(
            secret,
            "AwsSolutions-SMG4",
            "Anthropic's keys are made in its console; nothing can rotate them from here.",
        )
        return name

    def _tell_the_submit_queue(self) -> None:
        """Let S3 send every created object to the submit queue, without a custom resource.

        The queue's policy must stand before S3 is told of the queue, so it cannot name the bucket:
        it names this account, and buckets called like this stack (CloudFormation shortens names).
        """
        stack = Stack.of(self)
        self.submit_queue.add_to_resource_policy(
            iam.PolicyStatement(
                sid="UploadsMayTell",
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
        assert isinstance(bucket, s3.CfnBucket)  # noqa: S101  # the CDK's own child, for the type
        bucket.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
            queue_configurations=[
                s3.CfnBucket.QueueConfigurationProperty(
                    event="s3:ObjectCreated:*", queue=self.submit_queue.queue_arn
                )
            ]
        )
        bucket.node.add_dependency(self.submit_queue.node.find_child("Policy"))


def dead_letters(scope: Construct, name: str, *, retention: Duration) -> sqs.Queue:
    """Make a queue in which what failed waits for somebody to look at it."""
    queue = sqs.Queue(
        scope,
        name,
        retention_period=retention,
        encryption=sqs.QueueEncryption.SQS_MANAGED,
        enforce_ssl=True,
    )
    acknowledge(queue, "AwsSolutions-SQS3", "It is itself where dead letters go.")
    return queue


def _text(name: str) -> dynamodb.Attribute:
    return dynamodb.Attribute(name=name, type=dynamodb.AttributeType.STRING)
