"""The errors that this project raises. Each message says what to change.

RelayError
├── SettingError                     a setting is missing, of the wrong type or out of range
├── UnreadableUploadError            the upload cannot be read at all
├── DownloadError                    a download failed, after several tries
│   ├── ObjectUnreadableError        S3 refuses an object until somebody changes something
│   │   └── ObjectNotFoundError      the object does not exist any more
│   ├── DownloadTooSlowError         the results do not arrive within one Lambda invocation
│   └── ResultsChangedError          the results differ from the bytes saved earlier
├── UploadLostError                  the upload cannot be read again for retry.jsonl
├── DiskFullError                    one result exceeds its share of the disk
├── NewerSchemaError                 a newer version of the relay wrote an item; deploy it again
├── ClaimError                       competing claims won several times; the message is delivered again
├── IncompleteResultsError           the results lack rows or contain foreign ones; download again
├── PublishError                     SNS does not accept an event
├── KeyMissingError                  the secret contains no API key
│   └── KeyUnreadableError           the secret cannot be read
├── ApiNotFoundError                 the API returned 404, which proves nothing
├── ApiKeyRejectedError              the API rejects the key
├── ApiUnavailableError              the API did not answer, or asked to retry later
└── LedgerCheckError                 the ledger cannot be compared with Anthropic's usage report
"""

import msgspec

UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""The errors that msgspec raises for bytes that are not JSON or not of the expected shape."""


class RelayError(Exception):
    """The base of all errors that this project raises."""


class SettingError(RelayError):
    """A setting is missing, of the wrong type or out of range."""


class UnreadableUploadError(RelayError):
    """The upload cannot be read at all; the message says why, where and what to do."""


class DownloadError(RelayError):
    """A download failed, after several tries."""


class ObjectUnreadableError(DownloadError):
    """S3 refuses an object until somebody changes something: it is deleted, archived or denied.

    Attributes:
        why: the reason, as a predicate: ``is archived: restore it to read it``.
        code: S3's error code.
    """

    def __init__(self, uri: str, why: str, code: str = "") -> None:
        """Build the message from the object's address and the reason."""
        super().__init__(f"{uri} {why}")
        self.why, self.code = why, code


class ObjectNotFoundError(ObjectUnreadableError):
    """The object does not exist any more."""


class DownloadTooSlowError(DownloadError):
    """The results do not arrive within one Lambda invocation."""

    def __init__(self, size: int) -> None:
        """Build the message from the number of bytes received."""
        super().__init__(
            f"out of time after {size:,} bytes of results; later downloads save them in pieces"
        )


class ResultsChangedError(DownloadError):
    """The results differ from the bytes saved earlier."""

    def __init__(self, batch_id: str, size: int) -> None:
        """Build the message from the Message Batch and the number of bytes saved."""
        super().__init__(
            f"the results of {batch_id} differ from the {size:,} bytes saved earlier; the download "
            "starts over"
        )


class UploadLostError(RelayError):
    """The upload cannot be read again for retry.jsonl.

    Attributes:
        passing: whether a later try may succeed without a change by anyone.
    """

    def __init__(self, why: str, *, passing: bool) -> None:
        """Build the message from the reason, a predicate."""
        super().__init__(f"the upload {why}")
        self.passing = passing


class NewerSchemaError(RelayError):
    """A newer version of the relay wrote an item; deploy it again. This version might misread the item."""

    def __init__(self) -> None:
        """Build the message."""
        super().__init__("a newer version of the relay worked on it; deploy that version again")


class ClaimError(RelayError):
    """Competing claims won several times. Its message is delivered again."""

    def __init__(self, name: str) -> None:
        """Build the message from the job's id, or from the marker's key."""
        super().__init__(
            f"{name}: other claims of the same content came first several times; the message is "
            "delivered again"
        )


class IncompleteResultsError(RelayError):
    """The results lack rows or contain foreign ones; download them again."""


class DiskFullError(RelayError):
    """One result exceeds its share of the disk."""

    def __init__(self, row: int, size: int, limit: int) -> None:
        """Build the message from the row and from two sizes in bytes."""
        super().__init__(
            f"the result of row {row:,} has {size:,} bytes, but only {limit:,} fit on the disk; raise "
            "resultsDiskMib"
        )


class PublishError(RelayError):
    """SNS does not accept an event."""

    def __init__(self, event_id: str) -> None:
        """Build the message from the event's id."""
        super().__init__(
            f"SNS does not accept the event {event_id}; check the topic's policy and key"
        )


class KeyMissingError(RelayError):
    """The secret contains no API key.

    Attributes:
        reason: the reason to pause sending, a key of `PAUSE_MESSAGES`.
    """

    reason = "key_missing"

    def __init__(
        self,
        message: str = "the secret contains no API key; store a key from the Claude Console in it",
    ) -> None:
        """Build the error; the default message says what to store."""
        super().__init__(message)


class KeyUnreadableError(KeyMissingError):
    """The secret is deleted or denied, or Secrets Manager does not answer."""

    reason = "key_unreadable"

    def __init__(self, problem: str) -> None:
        """Build the message from AWS's error code."""
        super().__init__(
            f"the secret cannot be read ({problem}); check that it exists and that the functions "
            "may read and decrypt it"
        )


class ApiNotFoundError(RelayError):
    """The API returned 404, which proves nothing: existing batches get it too."""


class ApiKeyRejectedError(RelayError):
    """The API rejects the key.

    Attributes:
        status: 401 or 403.
    """

    def __init__(self, status: int) -> None:
        """Build the message from the HTTP status."""
        super().__init__(f"the API rejects the key (status {status})")
        self.status = status


class ApiUnavailableError(RelayError):
    """The API did not answer, or asked to retry later."""


class LedgerCheckError(RelayError):
    """The ledger cannot be compared with Anthropic's usage report; the message says why and what to do."""
