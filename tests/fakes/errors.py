"""The error that a fake service answers with."""

from typing import Any


class FakeAwsError(Exception):
    """An error response with its code and other members."""

    def __init__(self, code: str, message: str = "", *, status: int = 400, **details: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        metadata = {"HTTPStatusCode": status}
        self.response: Any = {
            "Error": {"Code": code, "Message": message},
            "ResponseMetadata": metadata,
            **details,
        }
