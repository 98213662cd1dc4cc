"""Subsegments for X-Ray: what each step and call took. Without the setting `tracing`, nothing is measured or imported."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functions.adapters.xray import Xray

_xray: "Xray | None" = None


def start() -> None:
    """Trace this process from now on. AWS clients that exist already are not traced."""
    global _xray  # noqa: PLW0603 - one per process, like the clients
    if _xray is None:
        from functions.adapters.xray import Xray  # noqa: PLC0415 - only where it is used

        _xray = Xray()


@contextmanager
def traced(step: str, **annotations: str) -> Iterator[None]:
    """Trace a step: a block, or as a decorator each call of a function. Steps and calls within it are its children."""
    if _xray is None:
        yield
    else:
        with _xray.step(step, annotations):
            yield


def call(
    name: str, url: str, *, began_at: float, status: int | None, request_id: str | None
) -> None:
    """Trace a finished call to Anthropic.

    Args:
        name: the method of our adapter.
        url: the address, without its query.
        began_at: when it began, in seconds since 1970.
        status: the HTTP status; None without a complete answer.
        request_id: the value of the header `request-id`.
    """
    if _xray is not None:
        _xray.call(name, url, began_at, status, request_id)


def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads work within the current step."""
    if _xray is None:
        return ThreadPoolExecutor(threads)
    return ThreadPoolExecutor(
        threads, initializer=_xray.continue_step, initargs=(_xray.current(),)
    )
