"""Start the emulator with two gaps closed; run by the emulator's own Python, which has nothing of ours.

tests/e2e/test_conformance.py pins what AWS does. ministack 1.5.33:

- gives the whole object when a range of a version is asked for, and plan goes on in the middle of
  an upload by a range;
- asks for permission to ``sqs:SendMessageBatch``, an action that IAM does not know: AWS asks for
  ``sqs:SendMessage``, as for the other batches of SQS and SNS
  (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html).
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

type Answer = tuple[int, dict[str, str], Any]
type Get = Callable[..., Answer]

OK, PARTIAL, OUTSIDE = 200, 206, 416


def ranged(get: Get, parse: Callable[[str, int], tuple[int, int] | None]) -> Get:
    """Make a GET of an object honor ``Range`` wherever it has not.

    Args:
        get: takes bucket, key, headers, query; gives status, headers, body.
        parse: reads a Range header for a size: first and last byte, None where it lies outside.
    """

    def get_range(
        bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None
    ) -> Answer:
        status, told, body = get(bucket, key, headers, query)
        asked = headers.get("range", "")
        if status != OK or not asked:
            return status, told, body
        span = parse(asked, len(body))
        if span is None:
            said = b"<Error><Code>InvalidRange</Code></Error>"
            return OUTSIDE, {"Content-Range": f"bytes */{len(body)}"}, said
        part = body[span[0] : span[1] + 1]
        kept = {name: value for name, value in told.items() if "checksum" not in name.lower()}
        place = f"bytes {span[0]}-{span[1]}/{len(body)}"
        return PARTIAL, kept | {"Content-Length": str(len(part)), "Content-Range": place}, part

    return get_range


def plain(action_of: Callable[..., str | None]) -> Callable[..., str | None]:
    """Name a batch of calls by the one permission that it needs.

    Args:
        action_of: gives the IAM action of a request.
    """

    def plain_action_of(*request: object, **named: object) -> str | None:
        action = action_of(*request, **named)
        ours = action is not None and action.startswith(("sqs:", "sns:"))
        return action.removesuffix("Batch") if action and ours else action

    return plain_action_of


def end_with(parent: int) -> None:
    """End, with all functions, as soon as the process that started us has: it may be killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Serve as ``ministack`` does."""
    if parent := os.environ.pop("TIED_TO", ""):
        threading.Thread(target=end_with, args=(int(parent),), daemon=True).start()
    # Only the emulator's own environment has these.
    from ministack import app  # type: ignore[import-not-found]  # noqa: PLC0415 - as said above
    from ministack.core import iam_actions  # type: ignore[import-not-found]  # noqa: PLC0415
    from ministack.services import s3  # type: ignore[import-not-found]  # noqa: PLC0415 - as above

    s3._get_object = ranged(s3._get_object, s3._parse_range)  # noqa: SLF001 - the gap's own place
    iam_actions.extract_iam_action = plain(iam_actions.extract_iam_action)
    app.main()


if __name__ == "__main__":
    main()
