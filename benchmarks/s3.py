"""A small S3 for measuring: it makes uploads up as they are read, and drops what is written but its size.

The emulators hold objects in memory; where memory and time per byte are measured, they would be what is measured.
Given a folder, it keeps what is written there as files, and serves and copies it again:

    python -m benchmarks.s3 --folder FOLDER [--fleeting] [--sizes '{"/bucket/key": 1000}'] [--mb-s 75]
"""

import argparse
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from benchmarks.throttle import Pace

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


@dataclass(frozen=True)
class Kept:
    """A range of a file: part of an object that is kept, or all of it."""

    file: Path
    start: int
    size: int

    @classmethod
    def of(cls, file: Path) -> "Kept":
        """Take all of a file."""
        return cls(file, 0, file.stat().st_size)


def _cut(parts: Sequence[Kept], start: int, stop: int) -> Iterator[Kept]:
    """Cut a range out of an object."""
    for part in parts:
        low, high = max(start, 0), min(stop, part.size)
        if low < high:
            yield Kept(part.file, part.start + low, high - low)
        start, stop = start - part.size, stop - part.size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for the other side's kernel
    sizes: ClassVar[dict[str, int]] = {}
    row_bytes: ClassVar[int] = 2400
    folder: ClassVar[Path | None] = None
    fleeting: ClassVar[bool] = False
    kept: ClassVar[dict[str, list[Kept]]] = {}
    counts: ClassVar[Counter[str]] = Counter()
    uploads: ClassVar[Iterator[int]] = count(1)
    inwards: ClassVar[Pace] = Pace()
    outwards: ClassVar[Pace] = Pace()

    def do_GET(self) -> None:
        """Give the range that is asked for, of what was kept or made up."""
        if self.path == COUNTS:
            return self._answer(json.dumps(self.counts).encode())
        parts = self._parts(self._object)
        if not parts and self._object not in self.sizes:
            return self._answer(b"<Error><Code>NoSuchKey</Code></Error>", 404)
        total = sum(part.size for part in parts) or self.sizes.get(self._object, 0)
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        stop = min(int(asked[2]) + 1, total) if asked and asked[2] else total
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        self.counts["read"] += stop - start
        if parts:
            self._send([*_cut(parts, start, stop)])
            return self._forget(self._object, parts) if stop - start == total else None
        for block in _made_up(start, stop, self.row_bytes):
            self.outwards.wait(len(block))
            self.wfile.write(block)
        return None

    def _send(self, parts: Sequence[Kept]) -> None:
        self.wfile.flush()
        for part in parts:
            with part.file.open("rb") as content:
                for at in range(0, part.size, self.outwards.block):
                    size = min(self.outwards.block, part.size - at)
                    self.outwards.wait(size)
                    self.connection.sendfile(content, part.start + at, size)

    def _forget(self, name: str, parts: Sequence[Kept]) -> None:
        """Where objects are fleeting, one that came in parts is gone when it has been read or copied whole."""
        if self.fleeting and len(parts) > 1:
            del self.kept[name]
            for part in parts:
                part.file.unlink(missing_ok=True)

    def do_HEAD(self) -> None:
        """Say whether something is kept there."""
        self.send_response(200 if self._parts(self._object) else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        """Keep what is written, or drop it; what is copied is only counted, and pointed at."""
        length, query = int(self.headers.get("Content-Length", 0)), self._query
        part = f"{query.get('uploadId', [''])[0]}.{query.get('partNumber', ['0'])[0]}"
        asked = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("x-amz-copy-source-range", ""))
        if asked:
            self._copy(part, int(asked[1]), int(asked[2]) + 1)
            return self._answer(b"<CopyPartResult><ETag>e</ETag></CopyPartResult>")
        if self.folder is None or "tagging" in query:
            self._take(length, None)
        else:
            file = self.folder / (part if "uploadId" in query else f"put{next(self.uploads)}")
            self._take(length, file)
            self.kept[part if "uploadId" in query else self._object] = [Kept.of(file)]
        if "tagging" not in query:
            self.counts["written"] += length
        return self._answer(b"")

    def _copy(self, part: str, start: int, stop: int) -> None:
        self.counts["copied"] += stop - start
        source = "/" + unquote(self.headers["x-amz-copy-source"]).lstrip("/")
        parts = self._parts(source)
        if self.fleeting:
            self._forget(source, parts)
        else:
            self.kept[part] = [*_cut(parts, start, stop)]

    def _take(self, left: int, file: Path | None) -> None:
        """Take a body, into a file or nowhere."""
        room = memoryview(bytearray(1 << 18))
        with (file or Path("/dev/null")).open("wb") as written:
            while left:
                taken = self.rfile.readinto(room[: min(left, self.inwards.block)])
                if not taken:
                    return
                self.inwards.wait(taken)
                left -= written.write(room[:taken])

    def do_POST(self) -> None:
        """Begin or complete an upload in parts."""
        body, query = self.rfile.read(int(self.headers.get("Content-Length", 0))), self._query
        if "uploads" in query:
            kind, upload = "InitiateMultipartUploadResult", f"u{next(self.uploads)}"
        else:
            kind, upload = "CompleteMultipartUploadResult", query["uploadId"][0]
            numbers = [int(found) for found in re.findall(rb"<PartNumber>(\d+)", body)]
            parts = [self.kept.pop(f"{upload}.{number}", []) for number in numbers]
            if self.folder is not None and any(parts):
                self.kept[self._object] = [kept for part in parts for kept in part]
        self._answer(f"<{kind}><UploadId>{upload}</UploadId><ETag>e</ETag></{kind}>".encode())

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
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

    def _parts(self, name: str) -> list[Kept]:
        """Give the parts of an object as they came, or the file that lay there before."""
        found = self.kept.get(name)
        if found is None and self.folder is not None:
            laid = self.folder / name.strip("/")
            found = [Kept.of(laid)] if laid.is_file() else []
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
def serving(
    sizes: dict[str, int], folder: Path | None = None, *, fleeting: bool = False, mb_s: float = 0
) -> Iterator[str]:
    """Serve objects of these sizes by path (``/bucket/key``), whole rows each; gives the address.

    Args:
        sizes: what is made up.
        folder: where files lie by the same paths, and what is written is kept; None drops it.
        fleeting: whether what came in parts is gone when it has been read or copied whole, to spare the disk.
        mb_s: megabytes a second each way; 0 for as fast as it goes.
    """
    _Handler.sizes, _Handler.folder, _Handler.fleeting = sizes, folder, fleeting
    _Handler.inwards, _Handler.outwards = Pace(mb_s), Pace(mb_s)
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
    parser.add_argument("--fleeting", action="store_true")
    parser.add_argument("--mb-s", type=float, default=0)
    asked = parser.parse_args()
    with serving(asked.sizes, asked.folder, fleeting=asked.fleeting, mb_s=asked.mb_s) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
