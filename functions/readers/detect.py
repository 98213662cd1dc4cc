"""Detect the format of an upload from its content."""

from functions.model.upload_format import UploadFormat
from functions.readers.contract import Source


def detect(source: Source, key: str) -> UploadFormat:
    """Return the format of an upload."""
    return UploadFormat()
