"""How long a client of AWS waits: a service that hangs must not hold a function until Lambda ends it."""

from botocore.config import Config

QUICK = Config(
    connect_timeout=5, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}
)
"""For SQS and SNS: what they do not take now is sent again by poll."""
PATIENT = Config(
    connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 6}
)
"""For DynamoDB: what has happened outside is to be written down, through a moment's throttling, too."""
