"""Count objects whose suffix has no reader, and announce them once per folder, suffix and day."""

import re
from datetime import datetime, timedelta

from aws_lambda_powertools import Logger

from functions.adapters.uploads import Uploads
from functions.model import timestamps, upload_events
from functions.readers import SUFFIXES

COUNTING_WINDOW = timedelta(minutes=2)
"""How long further objects raise the count in the day's event. Poll publishes the event afterwards."""
_SUFFIX = re.compile(r"\.(?=[^.]*[a-z])[a-z0-9_-]{1,16}")
logger = Logger(child=True)


def ignore(uploads: Uploads, bucket: str, key: str, created_at: str, now: datetime) -> None:
    """Count an ignored object. Add an event to the outbox for the first one of a folder, suffix and day."""
    logger.info("object ignored: no reader for its suffix", extra={"bucket": bucket, "key": key})
    folder = key.rpartition("/")[0]
    counted = uploads.count_ignored(bucket, folder, suffix_of(key), timestamps.parse(created_at))
    upload = {"bucket": bucket, "key": key}
    event = upload_events.upload_ignored(counted, upload, SUFFIXES, timestamps.text(now))
    if counted.announced_at is None:
        uploads.announce_ignored(counted, event)
    elif timestamps.parse(counted.announced_at) + COUNTING_WINDOW > now:
        uploads.update_ignored_event(event)


def suffix_of(key: str) -> str:
    """Return a key's suffix in lower case, with its dot.

    The suffix is empty if there is none, if it has no letter (a number or a date), or if it is longer than 16
    characters.
    """
    _, dot, extension = key.rpartition("/")[2].rpartition(".")
    suffix = (dot + extension).lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""
