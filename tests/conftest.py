"""What all tests share."""

import gc

import pytest

COMPRESSED = (b"PK", b"\x1f\x8b")
MAX_ID_CHARS = 40


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001 - as pytest calls it
    """Keep the garbage collector from visiting what was imported and collected; it would all the time."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:  # noqa: ARG001 - as pytest calls it
    """Name a parameter that is bytes by its beginning, or by its argument if it contains the time of its making.

    Two workers of xdist must collect the same names.
    """
    if not isinstance(val, bytes):
        return None
    return argname if val.startswith(COMPRESSED) else repr(val)[:MAX_ID_CHARS]
