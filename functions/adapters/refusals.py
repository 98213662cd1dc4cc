"""Why S3 refuses to return an object, for causes that last until somebody changes something.

Codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html. KMS's own codes have a prefix.
"""

from botocore.exceptions import ClientError

ABSENT = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NoSuchBucket"})
_DELETED = "no longer exists"
_NO_KEY = "cannot be decrypted: its KMS key"
_SENTENCES = {
    **dict.fromkeys(ABSENT, _DELETED),
    "MethodNotAllowed": "is deleted: this version is a delete marker",
    "AccessDenied": "cannot be read: a policy of the bucket, the KMS key or the organization denies access",
    "AllAccessDisabled": "cannot be read: S3 has disabled all access to it",
    "InvalidObjectState": "is archived: restore it to read it",
    "KMS.AccessDeniedException": f"{_NO_KEY} may not be used by this role",
    "KMS.DisabledException": f"{_NO_KEY} is disabled",
    "KMS.KMSInvalidStateException": f"{_NO_KEY} is pending deletion",
    "KMS.NotFoundException": f"{_NO_KEY} does not exist",
}


def why_refused(error: ClientError) -> str | None:
    """Return why S3 refuses an object, as a predicate; None for a cause that may pass without a change."""
    return _SENTENCES.get(refusal_code(error))


def refusal_code(error: ClientError) -> str:
    """Return S3's error code. If S3 hides a denied KMS key behind ``AccessDenied``, return KMS's own code."""
    details = error.response["Error"]
    code = details.get("Code", "")
    if code == "AccessDenied" and "kms:" in details.get("Message", ""):
        return "KMS.AccessDeniedException"
    return str(code)
