"""An object that no reader claims: count it, and announce it once per folder, suffix and day."""

import re
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from functions.adapters.uploads import Uploads
from functions.model import timestamps, upload_events
from functions.readers import READERS

COUNTS_FOR = timedelta(minutes=2)
"""The event of the day is published by poll; until then, each further object raises its count."""
_SUFFIX = re.compile(r"\.(?=[^.]*[a-z])[a-z0-9_-]{1,16}")
logger = Logger(child=True)


def ignore(uploads: Uploads, bucket: str, key: str, created_at: str, now: datetime) -> None:
    """Count an ignored object; the first of its folder, suffix and day owes an event."""
    logger.info("ignored: no reader claims this suffix", extra={"bucket": bucket, "key": key})
    folder = key.rpartition("/")[0]
    counted = uploads.count_ignored(bucket, folder, suffix_of(key), timestamps.parse(created_at))
    upload = {"bucket": bucket, "key": key}
    event = upload_events.upload_ignored(counted, upload, tuple(READERS), timestamps.text(now))
    if counted.told_at is None:
        uploads.announce_ignored(counted, event)
    elif timestamps.parse(counted.told_at) + COUNTS_FOR > now:
        uploads.update_ignored_event(event)


def suffix_of(key: str) -> str:
    """Name a key's suffix in lower case; empty where there is none, or one that is a number."""
    _, dot, last = key.rpartition("/")[2].rpartition(".")
    suffix = (dot + last).lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""
