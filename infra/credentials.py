"""`python -m infra.credentials`: report missing AWS credentials before anything is built."""

import os
import socket
import sys
from contextlib import suppress

import botocore.session
from botocore.exceptions import BotoCoreError

MESSAGE = "claude-batch-relay: there are no AWS credentials: set AWS_PROFILE, or run `aws configure` or `aws sso login`"


EC2_METADATA = ("169.254.169.254", 80)
CONNECT_S = 0.5
"""On EC2, the metadata service answers in milliseconds. Elsewhere, botocore would wait for it for two seconds or more."""


def problem() -> str | None:
    """Return why there are no credentials, in a sentence; None if there are some."""
    os.environ |= {"AWS_METADATA_SERVICE_TIMEOUT": "1", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1"}
    if "AWS_EC2_METADATA_SERVICE_ENDPOINT" not in os.environ and not _is_on_ec2():
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    try:
        credentials = botocore.session.Session().get_credentials()
    except BotoCoreError as error:
        return f"{MESSAGE} ({error})"
    return MESSAGE if credentials is None else None


def _is_on_ec2() -> bool:
    with suppress(OSError), socket.create_connection(EC2_METADATA, CONNECT_S):
        return True
    return False


if __name__ == "__main__":
    sys.exit(problem())
