"""The timeouts of AWS clients: a service that does not answer must not block a function until Lambda ends it."""

from botocore.config import Config

QUICK = Config(
    connect_timeout=2, read_timeout=3, retries={"mode": "standard", "total_max_attempts": 2}
)
"""For SQS, SNS, Secrets Manager, and poll's DynamoDB and S3: at most 11 s, with a second between the attempts.

Poll has a budget for each phase, and repeats later what they do not accept.
"""
PATIENT = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 6}
)
"""For DynamoDB in stages that work for minutes: at most 79 s, with up to 31 s between the attempts.

A result of an outside call must be recorded, even while the table is throttled.
"""
