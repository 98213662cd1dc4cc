"""Clients of the local AWS, with its endpoint and credentials."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict

import boto3
import botocore.session
from botocore.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

# The emulator reads a twelve-digit key as the account id. The CDK CLI caches accounts by key, so
# this is an id that no real account has.
ACCOUNT = "111122223333"
SECRET = "local"  # noqa: S105 - the emulator accepts any value
REGION = "us-east-1"


class _ClientOptions(TypedDict):
    endpoint_url: str
    verify: bool | str
    config: Config


@dataclass(frozen=True)
class Cloud:
    """An emulated AWS on this machine.

    Attributes:
        endpoint: the address of all its services.
        certificate: the CA bundle for TLS; None for plain HTTP.
    """

    endpoint: str
    certificate: Path | None = None

    def env(self) -> dict[str, str]:
        """Return environment variables that point any AWS tool at this cloud."""
        trust = (
            {}
            if self.certificate is None
            else {
                "AWS_CA_BUNDLE": str(self.certificate),
                "NODE_EXTRA_CA_CERTS": str(self.certificate),
            }
        )
        return {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
            **trust,
        }

    @cached_property
    def session(self) -> boto3.Session:
        """A session that ignores the profile and credentials of the user."""
        no_file = (None, None, os.devnull, None)
        config_sources = {"profile": (None, None, None, None), "config_file": no_file}
        return boto3.Session(
            aws_access_key_id=ACCOUNT,
            aws_secret_access_key=SECRET,
            region_name=REGION,
            botocore_session=botocore.session.Session(session_vars=config_sources),
        )

    @cached_property
    def s3(self) -> S3Client:
        """Objects."""
        return self.session.client("s3", **self._client_options())

    @cached_property
    def sqs(self) -> SQSClient:
        """Queues."""
        return self.session.client("sqs", **self._client_options())

    @cached_property
    def sns(self) -> SNSClient:
        """Topics."""
        return self.session.client("sns", **self._client_options())

    @cached_property
    def functions(self) -> LambdaClient:
        """Lambda functions."""
        return self.session.client("lambda", **self._client_options())

    @cached_property
    def stacks(self) -> CloudFormationClient:
        """CloudFormation."""
        return self.session.client("cloudformation", **self._client_options())

    @cached_property
    def secrets(self) -> SecretsManagerClient:
        """Secrets."""
        return self.session.client("secretsmanager", **self._client_options())

    @cached_property
    def tables(self) -> DynamoDBClient:
        """DynamoDB."""
        return self.session.client("dynamodb", **self._client_options())

    @cached_property
    def ssm(self) -> Any:  # noqa: ANN401 - no stubs are installed for this one call
        """Systems Manager, for the parameter that holds the bootstrap version."""
        return self.session.client("ssm", **self._client_options())

    def connect(self, service: str) -> Any:  # noqa: ANN401 - the client of any service
        """Return the client of a service, by its name in boto3."""
        return self.session.client(service, **self._client_options())  # type: ignore[call-overload]

    def _client_options(self) -> _ClientOptions:
        return {
            "endpoint_url": self.endpoint,
            "verify": str(self.certificate) if self.certificate else True,
            "config": Config(
                proxies={},  # never proxy loopback
                read_timeout=930,  # longer than a Lambda function may run
                request_checksum_calculation="when_required",
                retries={"total_max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
            ),
        }
