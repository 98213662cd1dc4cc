"""A small S3 for measuring: it makes uploads up as they are read, and drops what is written but its size.

The emulators hold objects in memory; where memory and time per byte are measured, they would be what is measured.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

ROW = (
    b'{"custom_id":"row-%09d","params":{"model":"claude-haiku-4-5","max_tokens":64,"messages":'
    b'[{"role":"user","content":"%s"}]}}\n'
)
CONTENT = b"lorem ipsum dolor sit amet "


def row(number: int, size: int = 2400) -> bytes:
    """Make row `number` (from 0) of an upload: exactly `size` bytes, the same each time."""
    bare = len(ROW % (number, b""))
    return ROW % (number, (CONTENT * (size // len(CONTENT) + 1))[: size - bare])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    sizes: ClassVar[dict[str, int]] = {}
    row_bytes: ClassVar[int] = 2400

    def do_GET(self) -> None:
        """Make up the range that is asked for."""
        total = self.sizes.get(urlsplit(self.path).path, 0)
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        stop = int(asked[2]) + 1 if asked and asked[2] else total
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        for block in _made_up(start, stop, self.row_bytes):
            self.wfile.write(block)

    def do_HEAD(self) -> None:
        """Nothing has been written here."""
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        """Drop what is written."""
        left = int(self.headers.get("Content-Length", 0))
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self._answer(b"")

    def do_POST(self) -> None:
        """Begin or complete an upload in parts."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        begins = "uploads" in parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        kind = "InitiateMultipartUploadResult" if begins else "CompleteMultipartUploadResult"
        self._answer(f"<{kind}><UploadId>u</UploadId><ETag>e</ETag></{kind}>".encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _made_up(start: int, stop: int, row_bytes: int) -> Iterator[bytes]:
    """Make the bytes of a range, some hundred rows at a time."""
    at = start
    while at < stop:
        first = at // row_bytes
        block = b"".join(row(number, row_bytes) for number in range(first, first + 400))
        block = block[at - first * row_bytes :][: stop - at]
        yield block
        at += len(block)


@contextmanager
def serving(sizes: dict[str, int]) -> Iterator[str]:
    """Serve objects of these sizes by path (``/bucket/key``), whole rows each; gives the address."""
    _Handler.sizes = sizes
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
