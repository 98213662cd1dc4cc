"""A Claude adapter over an in-memory transport: the real SDK and urllib3, answered by a test."""

import io
from collections.abc import Callable

import anthropic
import httpx2
import urllib3

from functions.adapters.anthropic_api import Claude

type Answer = Callable[[httpx2.Request], httpx2.Response]

_current: dict[str, Answer] = {}


def _answer(request: httpx2.Request) -> httpx2.Response:
    return _current["answer"](request)


class _FakePools:
    """urllib3's connection pools."""

    def request(self, method: str, url: str, **_: object) -> urllib3.BaseHTTPResponse:
        answer = _answer(httpx2.Request(method, url))
        body = io.BytesIO(answer.read())
        return urllib3.HTTPResponse(
            body, answer.headers, answer.status_code, preload_content=False
        )

    def clear(self) -> None:
        pass


_client = anthropic.Anthropic(
    api_key="sk-local", base_url="http://127.0.0.1", max_retries=0,
    http_client=httpx2.Client(transport=httpx2.MockTransport(_answer)),
)  # fmt: skip


def claude(answer: Answer) -> Claude:
    """Return an adapter that gets these answers; all share one client, which is slow to open."""
    _current["answer"] = answer
    adapter = Claude(
        base_url="http://127.0.0.1", api_version="2026-10-21", read_key=lambda _fresh: "sk-local"
    )
    adapter.__dict__.update(_sdk=_client, _http=_FakePools())
    return adapter
