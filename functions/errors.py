"""Every error that is ours, as a tree. Each message says what to change.

RelayError
├── SettingError                     a setting is missing, of the wrong type or out of range
├── UnreadableUploadError            the upload is no text
├── DownloadError                    bytes could not be read to their end, after several tries
│   ├── ObjectUnreadableError        S3 refuses an object until somebody changes something
│   │   └── ObjectNotFoundError      … it is no longer there
│   ├── DownloadTooSlowError         the results do not arrive within the time of one Lambda
│   └── ResultsChangedError          the results do not begin with what was saved of them
├── UploadLostError                  the upload cannot be read again, for retry.jsonl
├── DiskFullError                    the disk is too small for a chunk
│   └── ErrorLinesTooLargeError      … for the lines of what did not succeed
├── ClaimError                       other claims came in between again and again; worth another try
├── IncompleteResultsError           the results lack rows, or hold others; worth fetching again
├── PublishError                     SNS does not take an event
├── KeyMissingError                  the secret holds no API key yet
│   └── KeyUnreadableError           the secret cannot be read
├── ApiNotFoundError                 the API answers 404, which decides nothing
├── ApiKeyRejectedError              the API refuses the key
└── ApiUnavailableError              the API gives no answer, or one that says later
"""

import msgspec

UNREADABLE_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, or not of the expected shape."""


class RelayError(Exception):
    """Whatever this project raises by itself."""


class SettingError(RelayError):
    """A setting is missing, of the wrong type or out of range."""


class UnreadableUploadError(RelayError):
    """The upload is no text; the message names the offset in bytes."""

    def __init__(self, offset: int) -> None:
        """Say where the first byte stands that no text has."""
        super().__init__(
            f"the upload is no UTF-8 text: byte {offset:,} is the first that no text has; upload "
            "JSON Lines, uncompressed, saved as UTF-8"
        )


class DownloadError(RelayError):
    """Bytes could not be read to their end, after several tries."""


class ObjectUnreadableError(DownloadError):
    """S3 refuses an object until somebody changes something: it is gone, archived, denied, or its key is."""

    def __init__(self, uri: str, why: str, code: str = "") -> None:
        """Keep the reason, to be read behind another name, and S3's own code."""
        super().__init__(f"{uri} {why}")
        self.why, self.code = why, code


class ObjectNotFoundError(ObjectUnreadableError):
    """The object is no longer there."""


class DownloadTooSlowError(DownloadError):
    """The results do not arrive within the time of one Lambda."""

    def __init__(self, size: int) -> None:
        """Say how much arrived."""
        super().__init__(
            f"out of time after {size:,} bytes of results; the next download saves them in pieces"
        )


class ResultsChangedError(DownloadError):
    """The results do not begin with what was saved of them."""

    def __init__(self, batch_id: str, size: int) -> None:
        """Name the batch, and how much was saved."""
        super().__init__(
            f"the results of {batch_id} differ from the {size:,} bytes saved; the download starts over"
        )


class UploadLostError(RelayError):
    """The upload cannot be read again, for retry.jsonl."""

    def __init__(self, why: str, *, passing: bool) -> None:
        """Say why, and keep whether it may pass by itself."""
        super().__init__(f"the upload {why}")
        self.passing = passing


class ClaimError(RelayError):
    """Other claims came in between again and again; the message that asked for it comes again."""

    def __init__(self, name: str) -> None:
        """Name the upload's job, or the key of the marker."""
        super().__init__(f"{name}: other claims of the same bytes came in between, several times")


class IncompleteResultsError(RelayError):
    """The results lack rows, or hold others; worth fetching again."""


class DiskFullError(RelayError):
    """The disk is too small for a chunk: one result alone is longer than its share."""

    def __init__(self, row: int, size: int, most: int) -> None:
        """Say which, and which setting gives it room."""
        super().__init__(
            f"the result of row {row:,} has {size:,} bytes, and {most:,} fit on the disk; raise resultsDiskMib"
        )


class ErrorLinesTooLargeError(DiskFullError):
    """The disk is too small for the lines of what did not succeed."""

    def __init__(self, most: int) -> None:
        """Say how much there is, and which setting gives more."""
        RelayError.__init__(
            self,
            f"the lines of the rows that did not succeed have more than {most:,} bytes, which is the disk's "
            "share for them; raise resultsDiskMib, or lower requestsPerBatch",
        )


class PublishError(RelayError):
    """SNS does not take an event."""

    def __init__(self, event_id: str) -> None:
        """Name the event."""
        super().__init__(
            f"SNS does not take the event {event_id}; check the topic's policy and key"
        )


class KeyMissingError(RelayError):
    """The secret holds no API key yet."""

    reason = "key_missing"

    def __init__(
        self, message: str = "the secret holds no API key; put one from the Claude Console into it"
    ) -> None:
        """Say what to do."""
        super().__init__(message)


class KeyUnreadableError(KeyMissingError):
    """The secret cannot be read: deleted, denied, or Secrets Manager does not answer."""

    reason = "key_unreadable"

    def __init__(self, problem: str) -> None:
        """Name the problem, an error code of AWS, and what to check."""
        super().__init__(
            f"the secret cannot be read ({problem}); check that it exists and that the functions "
            "may read and decrypt it"
        )


class ApiNotFoundError(RelayError):
    """The API answers 404, which decides nothing: good batches get it, too."""


class ApiKeyRejectedError(RelayError):
    """The API refuses the key."""

    def __init__(self, status: int) -> None:
        """Keep the status: 401 or 403."""
        super().__init__(f"the API refuses the key: status {status}")
        self.status = status


class ApiUnavailableError(RelayError):
    """The API gives no answer, or one that says later."""
