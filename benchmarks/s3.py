"""A small S3 for measuring: it makes uploads up as they are read, and drops what is written but its size.

The emulators hold objects in memory; where memory and time per byte are measured, they would be what is measured.
Given a folder, it keeps what is written there as files and serves it again: ``python -m benchmarks.s3 FOLDER``.
"""

import argparse
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

ROW = (
    b'{"custom_id":"row-%09d","params":{"model":"claude-haiku-4-5","max_tokens":64,"messages":'
    b'[{"role":"user","content":"%s"}]}}\n'
)
CONTENT = b"lorem ipsum dolor sit amet "
COUNTS = "/_counts"


def row(number: int, size: int = 2400) -> bytes:
    """Make row `number` (from 0) of an upload: exactly `size` bytes, the same each time."""
    bare = len(ROW % (number, b""))
    return ROW % (number, (CONTENT * (size // len(CONTENT) + 1))[: size - bare])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for the other side's kernel
    sizes: ClassVar[dict[str, int]] = {}
    row_bytes: ClassVar[int] = 2400
    folder: ClassVar[Path | None] = None
    kept: ClassVar[dict[str, list[Path]]] = {}
    counts: ClassVar[Counter[str]] = Counter()
    uploads: ClassVar[Iterator[int]] = count(1)

    def do_GET(self) -> None:
        """Give the range that is asked for, of what was kept or made up."""
        if self.path == COUNTS:
            return self._answer(json.dumps(self.counts).encode())
        files = self._files()
        total = sum(file.stat().st_size for file in files) or self.sizes.get(self._object, 0)
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        stop = min(int(asked[2]) + 1, total) if asked and asked[2] else total
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        self.counts["read"] += stop - start
        if files:
            return self._send_files(files, start, stop)
        for block in _made_up(start, stop, self.row_bytes):
            self.wfile.write(block)
        return None

    def _send_files(self, files: list[Path], start: int, stop: int) -> None:
        self.wfile.flush()
        for file in files:
            size = file.stat().st_size
            if start < size and stop > 0:
                low = max(start, 0)
                with file.open("rb") as content:
                    self.connection.sendfile(content, low, min(stop, size) - low)
            start, stop = start - size, stop - size

    def do_HEAD(self) -> None:
        """Say whether something is kept there."""
        self.send_response(200 if self._files() else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        """Keep what is written, or drop it; copy nothing, but count it."""
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("x-amz-copy-source-range", ""))
        if asked:
            self.counts["copied"] += int(asked[2]) + 1 - int(asked[1])
            return self._answer(b"<CopyPartResult><ETag>e</ETag></CopyPartResult>")
        length, query = int(self.headers.get("Content-Length", 0)), self._query
        if "tagging" not in query:
            self.counts["written"] += length
        if self.folder is None or "tagging" in query:
            self._take(length, None)
        else:
            upload, number = query.get("uploadId", ["put"])[0], query.get("partNumber", ["0"])[0]
            name = f"{upload}.{number}" if upload != "put" else f"put{next(self.uploads)}"
            self._take(length, self.folder / name)
            if upload == "put":
                self.kept[self._object] = [self.folder / name]
        return self._answer(b"")

    def _take(self, left: int, file: Path | None) -> None:
        """Take a body, into a file or nowhere."""
        with (file or Path("/dev/null")).open("wb") as written:
            while left:
                block = self.rfile.read(min(left, 1 << 20))
                left -= written.write(block)

    def do_POST(self) -> None:
        """Begin or complete an upload in parts."""
        body, query = self.rfile.read(int(self.headers.get("Content-Length", 0))), self._query
        if "uploads" in query:
            kind, upload = "InitiateMultipartUploadResult", f"u{next(self.uploads)}"
        else:
            kind, upload = "CompleteMultipartUploadResult", query["uploadId"][0]
            numbers = [int(found) for found in re.findall(rb"<PartNumber>(\d+)", body)]
            if self.folder is not None:
                self.kept[self._object] = [self.folder / f"{upload}.{one}" for one in numbers]
        self._answer(f"<{kind}><UploadId>{upload}</UploadId><ETag>e</ETag></{kind}>".encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        self.wfile.write(body)

    @property
    def _object(self) -> str:
        return unquote(urlsplit(self.path).path)

    @property
    def _query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    def _files(self) -> list[Path]:
        """Give the files of an object: its parts as they came, or one that lay there before."""
        found = self.kept.get(self._object)
        if found is None and self.folder is not None:
            laid = self.folder / self._object.strip("/")
            found = [laid] if laid.is_file() else []
        return found or []

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
def serving(sizes: dict[str, int], folder: Path | None = None) -> Iterator[str]:
    """Serve objects of these sizes by path (``/bucket/key``), whole rows each; gives the address.

    Args:
        sizes: what is made up.
        folder: where files lie by the same paths, and what is written is kept; None drops it.
    """
    _Handler.sizes, _Handler.folder = sizes, folder
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


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3", description=main.__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=json.loads, default={})
    asked = parser.parse_args()
    with serving(asked.sizes, asked.folder) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
