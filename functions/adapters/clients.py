"""The timeouts of AWS clients: a service that does not answer must not block a function until Lambda ends it."""

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

QUICK = Config(
    connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2}
)
"""For SQS, SNS, Secrets Manager and poll's S3: at most 11 s, with a second between the attempts.

Poll has a budget for each phase, and repeats later what they do not accept.
"""
PATIENT = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 6}
)
"""For DynamoDB. A result of an outside call must be recorded, even while the table is throttled."""


def quick_s3() -> "S3Client":
    """Open a client for S3 that writes small objects."""
    return boto3.client("s3", config=QUICK)
