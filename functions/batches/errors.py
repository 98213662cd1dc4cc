"""Every error that is ours, as a tree. Each message says what to change.

RelayError
├── SettingError            a setting is missing or of the wrong type
├── UnreadableUploadError   the upload is no text
├── DownloadError           bytes could not be read to their end, after several tries
└── IncompleteResultsError  the results lack rows, or hold others; worth fetching again
"""


class RelayError(Exception):
    """Whatever this project raises by itself."""


class SettingError(RelayError):
    """A setting is missing or of the wrong type."""


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


class IncompleteResultsError(RelayError):
    """The results lack rows, or hold others; worth fetching again."""
