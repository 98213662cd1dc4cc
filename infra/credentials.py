"""`python -m infra.credentials`: say at once that there are no AWS credentials, before anything is built."""

import os
import sys

import botocore.session
from botocore.exceptions import BotoCoreError

MESSAGE = "claude-batch-relay: there are no AWS credentials: set AWS_PROFILE, or run `aws configure` or `aws sso login`"


def problem() -> str | None:
    """Return why there are no credentials, in a sentence; None if there are some."""
    os.environ |= {"AWS_METADATA_SERVICE_TIMEOUT": "1", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "1"}
    try:
        credentials = botocore.session.Session().get_credentials()
    except BotoCoreError as error:
        return f"{MESSAGE} ({error})"
    return MESSAGE if credentials is None else None


if __name__ == "__main__":
    sys.exit(problem())
