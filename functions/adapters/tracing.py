"""Subsegments for X-Ray: what each step and call took. Without the setting `tracing`, nothing is measured or imported."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from functions.adapters.xray import Xray

_NOT_TRACED = nullcontext()
_xray: "Xray | None" = None


def start() -> None:
    """Trace this process from now on. Clients of AWS are traced if they are created afterwards."""
    global _xray  # noqa: PLW0603 - one per process, like the clients
    if _xray is None:
        from functions.adapters.xray import Xray  # noqa: PLC0415 - only where it is used

        _xray = Xray()


def step(name: str, **annotations: str) -> AbstractContextManager[None]:
    """Trace a step. Steps and calls within it, in this thread, are its children."""
    return _NOT_TRACED if _xray is None else _xray.step(name, annotations)


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
    """Return a pool. What its threads do is part of the present step."""
    if _xray is None:
        return ThreadPoolExecutor(threads)
    return ThreadPoolExecutor(
        threads, initializer=_xray.continue_step, initargs=(_xray.current(),)
    )
