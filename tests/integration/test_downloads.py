"""Results are read correctly with every HTTP framing."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from functions.adapters.anthropic_api import Claude
from functions.errors import DownloadError

BODY = b'{"custom_id":"a"}\n' * 1000
ZIPPED = gzip.compress(BODY)
LENGTH = b"Content-Length: %d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
GZIP = b"Content-Encoding: gzip\r\n"


def to_chunked_encoding(body: bytes) -> bytes:
    blocks = (body[offset : offset + 50] for offset in range(0, len(body), 50))
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n\r\n"


@contextmanager
def serve_response(response: bytes) -> Iterator[tuple[Claude, list[tuple[str, int]]]]:
    """Serve one raw response; yield a client, and the connections that it used."""
    connections: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.append(self.client_address)
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + response)
            self.close_connection = CLOSE in response

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield (
                Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "k"),
                connections,
            )
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "response",
    [
        LENGTH % len(BODY) + b"\r\n" + BODY,
        CHUNKED + b"\r\n" + to_chunked_encoding(BODY),
        GZIP + LENGTH % len(ZIPPED) + b"\r\n" + ZIPPED,
        GZIP + CHUNKED + b"\r\n" + to_chunked_encoding(ZIPPED),
    ],
)
def test_results_are_read_with_every_framing_on_a_new_connection_each(response: bytes) -> None:
    with serve_response(response) as (claude, connections):
        for _ in range(2):
            assert b"".join(claude.results("msgbatch_1")) == BODY

    assert len({*connections}) == 2  # an idle connection would be dead minutes later


@pytest.mark.parametrize(
    "response",
    [
        LENGTH % (len(BODY) + 1) + CLOSE + b"\r\n" + BODY,
        CHUNKED + CLOSE + b"\r\n" + to_chunked_encoding(BODY)[:-20],
        CHUNKED + b"\r\n-5\r\n",
        CHUNKED + b"\r\nxyz\r\n",
        GZIP + LENGTH % len(BODY) + b"\r\n" + BODY,
    ],
)
def test_a_truncated_or_malformed_response_is_an_error(response: bytes) -> None:
    with (
        serve_response(response) as (claude, _),
        pytest.raises(DownloadError, match="download of msgbatch_1's results failed"),
    ):
        list(claude.results("msgbatch_1"))
