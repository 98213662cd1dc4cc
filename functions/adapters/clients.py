"""The timeouts of AWS clients: a service that does not answer must not block a function until Lambda ends it."""

from botocore.config import Config

QUICK = Config(
    connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}
)
"""For SQS and SNS. Poll repeats later what they do not accept."""
PATIENT = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 6}
)
"""For DynamoDB. A result of an outside call must be recorded, even while the table is throttled."""
