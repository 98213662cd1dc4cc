"""Find the deployed stack: the running local cloud, or a stack in an AWS account."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from cli.errors import WITHOUT_OPTIONS, NotFoundError
from local import environment
from local.polling import Polling
from local.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

DEFAULT_STACK = "claude-batch-relay"
LAMBDA_READ_TIMEOUT_S = 930
"""Longer than a Lambda function may run."""


@dataclass(frozen=True)
class Deployment:
    """A deployed stack.

    Attributes:
        name: its name; ``local cloud`` for the one on this machine.
        outputs: the outputs of the stack.
        connect: returns the client of an AWS service, by its name in boto3.
        polling: opens what runs poll while a command waits: the local cloud has no schedule.
    """

    name: str
    outputs: Mapping[str, str]
    connect: Callable[[str], Any]
    polling: Callable[[], AbstractContextManager[Polling | None]] = nullcontext

    def output(self, name: str) -> str:
        """Return an output of the stack.

        Raises:
            NotFoundError: the stack is of a version that did not have it.
        """
        if name not in self.outputs:
            message = (
                f"the stack {self.name} has no output {name}: it was deployed by an earlier version; "
                "run `make deploy` of this one"
            )
            raise NotFoundError(message)
        return self.outputs[name]

    @property
    def uploads(self) -> str:
        """The bucket of the uploads."""
        return self.output("UploadsBucket")

    @property
    def results(self) -> str:
        """The bucket of the results."""
        return self.output("ResultsBucket")

    @property
    def table(self) -> str:
        """The table of jobs and batches."""
        return self.output("TableName")

    @property
    def topic(self) -> str:
        """The topic of the events."""
        return self.output("EventsTopicArn")

    @cached_property
    def s3(self) -> S3Client:
        """S3's client."""
        client: S3Client = self.connect("s3")
        return client

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        """DynamoDB's client."""
        client: DynamoDBClient = self.connect("dynamodb")
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        """SQS's client."""
        client: SQSClient = self.connect("sqs")
        return client

    @cached_property
    def sns(self) -> SNSClient:
        """SNS's client."""
        client: SNSClient = self.connect("sns")
        return client

    @cached_property
    def functions(self) -> LambdaClient:
        """Lambda's client."""
        client: LambdaClient = self.connect("lambda")
        return client

    @cached_property
    def stacks(self) -> CloudFormationClient:
        """CloudFormation's client."""
        client: CloudFormationClient = self.connect("cloudformation")
        return client

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """Secrets Manager's client."""
        client: SecretsManagerClient = self.connect("secretsmanager")
        return client


def find(stack: str | None, region: str | None, profile: str | None) -> Deployment:
    """Find the stack; the running local cloud if neither a stack, a region nor a profile is named.

    Raises:
        NotFoundError: there is no such stack.
        BotoCoreError: AWS cannot be reached.
        ClientError: AWS refuses to describe it.
    """
    workspace = Workspace.of_this_clone()
    if not (stack or region or profile):
        running = environment.peek(workspace)
        if running is not None:
            return Deployment(
                "local cloud",
                running.outputs,
                running.cloud.connect,
                partial(Polling, running.cloud, running.outputs),
            )
    # boto3 reads AWS_DEFAULT_REGION alone; the AWS CLI and the CDK read AWS_REGION first.
    region = region or os.environ.get("AWS_REGION")
    session = boto3.Session(profile_name=profile, region_name=region)
    name = stack or _stack_of(workspace)
    return Deployment(name, _outputs(session, name), _connector(session))


def _connector(session: boto3.Session) -> Callable[[str], Any]:
    config = Config(retries={"total_max_attempts": 5, "mode": "standard"})
    # An invocation that is repeated while it still runs would answer that there is nothing to do.
    of_lambda = config.merge(Config(read_timeout=LAMBDA_READ_TIMEOUT_S))

    def connect(service: str) -> Any:  # noqa: ANN401 - the client of any service
        return session.client(service, config=of_lambda if service == "lambda" else config)  # type: ignore[call-overload]

    return connect


def _stack_of(workspace: Workspace) -> str:
    """Return the stack name that cdk.json of this clone sets."""
    try:
        context = json.loads((workspace.root / "cdk.json").read_bytes())["context"]
    except (OSError, ValueError, KeyError):
        return DEFAULT_STACK
    return str(context.get("stackName") or DEFAULT_STACK)


def _outputs(session: boto3.Session, name: str) -> dict[str, str]:
    try:
        answer = _connector(session)("cloudformation").describe_stacks(StackName=name)
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        message = (
            f"there is no stack {name} in {session.region_name}: --stack, --region and --profile name another, "
            f"and `make deploy` deploys one; {WITHOUT_OPTIONS}"
        )
        raise NotFoundError(message) from error
    outputs = answer["Stacks"][0].get("Outputs", [])
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}
