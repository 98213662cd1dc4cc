"""Start the emulator with three gaps closed; run by the emulator's own Python, which has nothing of ours.

tests/e2e/test_conformance.py pins what AWS does. ministack 1.5.33:

- gives the whole object when a range of a version is asked for, and plan goes on in the middle of
  an upload by a range;
- knows no checksum over the full object where one is uploaded in parts, and refuses the right one;
- asks for permission to ``sqs:SendMessageBatch``, an action that IAM does not know: AWS asks for
  ``sqs:SendMessage``, as for the other batches of SQS and SNS
  (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html).
"""

import os
import signal
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any

type Answer = tuple[int, dict[str, str], Any]
type Get = Callable[..., Answer]

type Complete = Callable[..., Answer]

OK, PARTIAL, REFUSED, OUTSIDE = 200, 206, 400, 416


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


def whole_object(
    complete: Complete, find: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
) -> Complete:
    """Make the completion of an upload hold the object to the CRC-32 of all of it, as S3 does.

    Args:
        complete: takes bucket, key, body, query, headers; gives status, headers, body.
        find: gives an upload by its query: its ``parts`` by number, each with a ``body``.
    """

    def complete_whole(
        bucket: str,
        key: str,
        body: bytes,
        query: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        asked, upload = dict(headers or {}), find(query)
        if asked.pop("x-amz-checksum-type", "") != "FULL_OBJECT" or upload is None:
            return complete(bucket, key, body, query, headers)
        crc32, parts = 0, upload["parts"]
        for number in sorted(parts):
            crc32 = zlib.crc32(parts[number]["body"], crc32)
        wanted = asked.pop("x-amz-checksum-crc32", None)
        if wanted != b64encode(crc32.to_bytes(4)).decode():
            return REFUSED, {}, b"<Error><Code>BadDigest</Code></Error>"
        return complete(bucket, key, body, query, asked)

    return complete_whole


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
    uploads, text_of = s3._multipart_uploads, s3._qp  # noqa: SLF001
    s3._complete_multipart_upload = whole_object(  # noqa: SLF001
        s3._complete_multipart_upload,  # noqa: SLF001
        lambda query: uploads.get(text_of(query, "uploadId")),
    )
    iam_actions.extract_iam_action = plain(iam_actions.extract_iam_action)
    app.main()


if __name__ == "__main__":
    main()
