"""Start the emulator with six gaps fixed. Runs in the emulator's Python, which cannot import our code.

tests/e2e/test_conformance.py checks what AWS does. ministack 1.5.33:

- returns the whole object for a range of an object version; plan needs a range to resume;
- rejects the correct full-object checksum of a multipart upload;
- requires permission for ``sqs:SendMessageBatch``, which is not an IAM action. AWS requires
  ``sqs:SendMessage``, as for the other batch calls of SQS and SNS
  (https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html);
- creates buckets without the lifecycle of the template, which `relay doctor` compares;
- gives buckets new names at each start, so the output of an earlier `make up` becomes wrong;
- unpacks the bundle for each container and at each start: 8,000 files take up to 7 s on a disk.
"""

import hashlib
import os
import shutil
import signal
import threading
import time
import zipfile
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any

type Answer = tuple[int, dict[str, str], Any]
type Get = Callable[..., Answer]

type Complete = Callable[..., Answer]

KEPT = 6
"""Unpacked archives that are kept for the next start: three versions, each with its layer."""
OK, PARTIAL_CONTENT, BAD_REQUEST, RANGE_NOT_SATISFIABLE = 200, 206, 400, 416


def honor_range(get: Get, parse: Callable[[str, int], tuple[int, int] | None]) -> Get:
    """Make GET of an object honor ``Range``.

    Args:
        get: takes bucket, key, headers, query; returns status, headers, body.
        parse: returns the first and last byte of a Range header, None if it is unsatisfiable.
    """

    def get_range(
        bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, Any] | None = None
    ) -> Answer:
        status, response_headers, body = get(bucket, key, headers, query)
        requested = headers.get("range", "")
        if status != OK or not requested:
            return status, response_headers, body
        byte_range = parse(requested, len(body))
        if byte_range is None:
            error = b"<Error><Code>InvalidRange</Code></Error>"
            return RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{len(body)}"}, error
        content = body[byte_range[0] : byte_range[1] + 1]
        without_checksum = {
            name: value
            for name, value in response_headers.items()
            if "checksum" not in name.lower()
        }
        content_range = f"bytes {byte_range[0]}-{byte_range[1]}/{len(body)}"
        range_headers = {"Content-Length": str(len(content)), "Content-Range": content_range}
        return PARTIAL_CONTENT, without_checksum | range_headers, content

    return get_range


def verify_full_object_checksum(
    complete: Complete, find: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]
) -> Complete:
    """Verify the CRC-32 of the full object when a multipart upload completes, as S3 does.

    Args:
        complete: takes bucket, key, body, query, headers; returns status, headers, body.
        find: returns an upload by its query: its ``parts`` by number, each with a ``body``.
    """

    def complete_verified(
        bucket: str,
        key: str,
        body: bytes,
        query: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        remaining, upload = dict(headers or {}), find(query)
        if remaining.pop("x-amz-checksum-type", "") != "FULL_OBJECT" or upload is None:
            return complete(bucket, key, body, query, headers)
        actual, parts = 0, upload["parts"]
        for number in sorted(parts):
            actual = zlib.crc32(parts[number]["body"], actual)
        expected = remaining.pop("x-amz-checksum-crc32", None)
        if expected != b64encode(actual.to_bytes(4)).decode():
            return BAD_REQUEST, {}, b"<Error><Code>BadDigest</Code></Error>"
        return complete(bucket, key, body, query, remaining)

    return complete_verified


def as_single_action(action_of: Callable[..., str | None]) -> Callable[..., str | None]:
    """Map a batch action to the IAM action that it needs.

    Args:
        action_of: returns the IAM action of a request.
    """

    def single_action_of(*request: object, **named: object) -> str | None:
        action = action_of(*request, **named)
        ours = action is not None and action.startswith(("sqs:", "sns:"))
        return action.removesuffix("Batch") if action and ours else action

    return single_action_of


def keep_names(create: Callable[..., Any], seed: ContextVar[str]) -> Callable[..., Any]:
    """Create each bucket of a stack under a name that depends on the stack and its logical id alone.

    Args:
        create: creates a bucket; it draws a seed for the name if there is none.
        seed: what the emulator mixes into generated names.
    """

    def create_with_kept_name(*arguments: Any) -> Any:  # noqa: ANN401 - as the emulator declares it
        if not seed.get():
            seed.set("kept")
        return create(*arguments)

    return create_with_kept_name


def unpack_once(folder: Path) -> type[zipfile.ZipFile]:
    """Return a `ZipFile` that unpacks equal archives once and links each target to the files.

    Containers can share them, because a function cannot write to its code folder in Lambda.

    Args:
        folder: where the files are unpacked.
    """
    lock = threading.Lock()

    class UnpackOnce(zipfile.ZipFile):
        def extractall(
            self,
            path: str | os.PathLike[str] | None = None,
            members: Iterable[str | zipfile.ZipInfo] | None = None,
            pwd: bytes | None = None,
        ) -> None:
            with Path(str(self.filename)).open("rb") as archive:
                unpacked = folder / hashlib.file_digest(archive, "sha256").hexdigest()
            with lock:
                if not unpacked.exists():
                    partial = unpacked.with_suffix(".partial")
                    super().extractall(partial, members, pwd)
                    partial.rename(unpacked)
            target = Path(path or ".")
            with suppress(FileNotFoundError):
                target.rmdir()
            target.symlink_to(unpacked)

    return UnpackOnce


def forget_old(folder: Path, kept: int = KEPT) -> None:
    """Remove all but the newest unpacked archives."""
    archives = sorted(folder.glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in archives[kept:]:
        shutil.rmtree(path, ignore_errors=True)


def exit_with_parent(parent: int) -> None:
    """Kill this process group when the parent process ends, even if it was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def lifecycle_rules(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rules of CloudFormation's ``LifecycleConfiguration`` as S3 has them."""
    return [_lifecycle_rule(rule) for rule in configuration["Rules"]]


def _lifecycle_rule(rule: Mapping[str, Any]) -> dict[str, Any]:
    prefix, tags = {"Prefix": rule.get("Prefix", "")}, rule.get("TagFilters")
    expiration = {
        name: rule[member]
        for name, member in (
            ("Days", "ExpirationInDays"),
            ("ExpiredObjectDeleteMarker", "ExpiredObjectDeleteMarker"),
        )
        if member in rule
    }
    same = ("NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    return {
        "ID": rule["Id"],
        "Status": rule["Status"],
        "Filter": {"And": {**prefix, "Tags": tags}} if tags else prefix,
        **({"Expiration": expiration} if expiration else {}),
        **{name: rule[name] for name in same if name in rule},
    }


def main() -> None:
    """Run ``ministack``."""
    if parent := os.environ.pop("STOP_WITH_PARENT", ""):
        threading.Thread(target=exit_with_parent, args=(int(parent),), daemon=True).start()
    # Only the emulator's virtual environment has these.
    from ministack import app  # type: ignore[import-not-found]  # noqa: PLC0415 - as said above
    from ministack.core import (  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
        iam_actions,
        lambda_runtime,
    )
    from ministack.services import s3  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
    from ministack.services.cloudformation import (  # type: ignore[import-not-found]  # noqa: PLC0415 - as above
        provisioners,
    )

    s3._get_object = honor_range(s3._get_object, s3._parse_range)  # noqa: SLF001 - no public hook
    uploads, query_value = s3._multipart_uploads, s3._qp  # noqa: SLF001
    s3._complete_multipart_upload = verify_full_object_checksum(  # noqa: SLF001
        s3._complete_multipart_upload,  # noqa: SLF001
        lambda query: uploads.get(query_value(query, "uploadId")),
    )
    rules = s3._bucket_lifecycle  # noqa: SLF001
    provisioners._S3_BUCKET_CONFIGURATIONS += (  # noqa: SLF001
        ("LifecycleConfiguration", lifecycle_rules, rules.__setitem__, rules.pop),
    )
    buckets = provisioners._RESOURCE_HANDLERS["AWS::S3::Bucket"]  # noqa: SLF001
    buckets["create"] = keep_names(buckets["create"], provisioners._NAME_SEED)  # noqa: SLF001
    iam_actions.extract_iam_action = as_single_action(iam_actions.extract_iam_action)
    unpacked = Path(os.environ["UNPACKED"])
    forget_old(unpacked)
    unpacking = unpack_once(unpacked)
    lambda_runtime.zipfile = SimpleNamespace(**vars(zipfile) | {"ZipFile": unpacking})
    app.main()


if __name__ == "__main__":
    main()
