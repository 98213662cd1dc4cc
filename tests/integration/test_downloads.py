"""What an answer's framing may do to the bytes of results."""

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


def chunks(body: bytes) -> bytes:
    pieces = (body[at : at + 50] for at in range(0, len(body), 50))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[Claude, list[tuple[str, int]]]]:
    """Serve one answer, raw, and keep connections open; gives the door, and who came by which connection."""
    came: list[tuple[str, int]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            came.append(self.client_address)
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + answer)
            self.close_connection = CLOSE in answer

        def log_message(self, *_args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "k"), came
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH % len(BODY) + b"\r\n" + BODY,
        CHUNKED + b"\r\n" + chunks(BODY),
        GZIP + LENGTH % len(ZIPPED) + b"\r\n" + ZIPPED,
        GZIP + CHUNKED + b"\r\n" + chunks(ZIPPED),
    ],
)
def test_results_come_out_as_they_are_whatever_they_come_in(answer: bytes) -> None:
    with answering(answer) as (claude, came):
        for _ in range(2):
            assert b"".join(claude.results("msgbatch_1")) == BODY

    assert len({*came}) == 2  # a connection that was kept would be dead minutes later


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH % (len(BODY) + 1) + CLOSE + b"\r\n" + BODY,
        CHUNKED + CLOSE + b"\r\n" + chunks(BODY)[:-20],
        CHUNKED + b"\r\n-5\r\n",
        CHUNKED + b"\r\nxyz\r\n",
        GZIP + LENGTH % len(BODY) + b"\r\n" + BODY,
    ],
)
def test_what_breaks_off_or_is_framed_wrongly_is_an_error(answer: bytes) -> None:
    with (
        answering(answer) as (claude, _),
        pytest.raises(DownloadError, match="download of msgbatch_1's results failed"),
    ):
        list(claude.results("msgbatch_1"))
