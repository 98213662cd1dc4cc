"""Anthropic without a socket: the simulator behind the SDK's and urllib3's transports."""

import http.client
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import httpx2
import urllib3

from local.simulator import Simulator
from local.simulator.api import Api
from local.simulator.http import Body, Call, HangUpError, Reply
from local.simulator.server import answer

SOCKET_BUFFER = 256 << 10
URL = "http://anthropic.invalid"


class FakeAnthropic:
    """Answer the requests of a client."""

    def __init__(self, simulator: Simulator) -> None:
        self._api = Api(simulator)
        simulator.url = URL

    def send(self, request: httpx2.Request) -> httpx2.Response:
        """Answer the SDK's request instead of its transport.

        Raises:
            httpx2.TransportError: The connection ends, or the answer takes too long.
        """
        body = _RequestBody(cast("Iterator[bytes]", request.stream), request.headers)
        try:
            reply = self._answer(request.method, str(request.url), request.headers, body)
        except HangUpError as end:
            reset = httpx2.ReadError if body.consumed else httpx2.WriteError
            kind = reset if end.reset else httpx2.RemoteProtocolError
            message = "the connection closed without an answer"
            raise kind(message, request=request) from None
        timeouts: Any = request.extensions.get("timeout", {})
        if reply.delay_s > (timeouts.get("read") or reply.delay_s):
            message = "the read timed out"
            raise httpx2.ReadTimeout(message, request=request)
        content = reply.content if isinstance(reply.content, bytes) else b"".join(reply.content)
        headers = {"content-type": reply.kind, **reply.headers}
        return httpx2.Response(reply.status, headers=headers, content=content, request=request)

    def download(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Answer urllib3's request instead of its pools.

        Raises:
            urllib3.exceptions.HTTPError: The connection ends without an answer.
        """
        try:
            reply = self._answer(
                method, url, options.get("headers", {}), _RequestBody(iter(()), {})
            )
        except HangUpError:
            message = "the connection closed without an answer"
            raise urllib3.exceptions.ProtocolError(message) from None
        blocks = iter([reply.content]) if isinstance(reply.content, bytes) else reply.content
        headers = {"content-type": reply.kind, **reply.headers}
        if reply.framing == "length" and not isinstance(reply.content, bytes):
            headers["content-length"] = str(reply.length)
        return urllib3.HTTPResponse(
            _ResponseStream(blocks, cut=reply.cut and reply.framing == "chunked"),  # type: ignore[arg-type]
            headers,
            reply.status,
            preload_content=False,
        )

    def _answer(self, method: str, url: str, headers: Mapping[str, str], body: Body) -> Reply:
        split_url = urlsplit(url)
        lower_headers = {name.lower(): value for name, value in headers.items()}
        call = Call(method, split_url.path, parse_qsl(split_url.query), lower_headers, body)
        reply = answer(self._api, call, f"req_{uuid.uuid4().hex[:24]}")
        if not body.consumed:
            with suppress(HangUpError):
                deque(body.blocks(), maxlen=0)  # the server reads the whole body before it answers
        return reply


@contextmanager
def route_clients_to(anthropic: FakeAnthropic) -> Iterator[str]:
    """Route every HTTP client to this API instead of the network; yield the base URL."""
    with (
        patch.object(httpx2.HTTPTransport, "handle_request", lambda _, request: anthropic.send(request)),
        patch.object(urllib3.PoolManager, "request", lambda _, *args, **options: anthropic.download(*args, **options)),
    ):  # fmt: skip
        yield URL


class _RequestBody(Body):
    """A request body in the blocks that the client sends."""

    def __init__(self, blocks: Iterator[bytes], headers: Mapping[str, str]) -> None:
        self._rest = iter(blocks)
        self.length = int(headers.get("content-length", 0))
        self.consumed = self.length == 0

    def blocks(self) -> Iterator[bytes]:
        yield from self._rest
        self.consumed = True

    def break_off(self, after_bytes: int) -> None:
        """End the connection after the client has filled its socket buffer."""
        sent = 0
        for block in self._rest:
            sent += len(block)
            if sent > after_bytes + SOCKET_BUFFER:
                break
        else:
            self.consumed = True
        raise HangUpError(reset=True)


class _ResponseStream:
    """A connection from which urllib3 reads a response body."""

    def __init__(self, blocks: Iterator[bytes], *, cut: bool) -> None:
        self._blocks, self._cut, self._rest, self.closed = blocks, cut, b"", False

    def read(self, size: int | None = None) -> bytes:
        while size is None or len(self._rest) < size:
            next_block = next(self._blocks, None)
            if next_block is None:
                break
            self._rest += next_block
        read_bytes = self._rest[:size]
        self._rest = self._rest[len(read_bytes) :]
        if not read_bytes and self._cut:
            raise http.client.IncompleteRead(b"")  # noqa: EM101 - no message
        return read_bytes

    def close(self) -> None:
        self.closed = True
