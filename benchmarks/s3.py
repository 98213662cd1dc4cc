"""A minimal fake of S3 for measuring: it generates uploads as they are read, and discards written data.

Emulators hold objects in memory, which would distort measurements of memory and time per byte.
With a folder, it stores written objects there as files, and serves and copies them:

    python -m benchmarks.s3 --folder FOLDER [--delete-after-read] [--sizes '{"/bucket/key": 1000}'] [--mb-s 75]
"""

import argparse
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from benchmarks.throttle import Throttle

ROW = (
    b'{"custom_id":"row-%09d","params":{"model":"claude-haiku-4-5","max_tokens":64,"messages":'
    b'[{"role":"user","content":"%s"}]}}\n'
)
CONTENT = b"lorem ipsum dolor sit amet "
COUNTS = "/_counts"
PAGE_KEYS = 1_000
"""Keys on a page of a listing, as S3 answers."""


def row(number: int, size: int = 2400) -> bytes:
    """Build row `number` (from 0) of an upload: exactly `size` bytes, deterministic."""
    bare = len(ROW % (number, b""))
    return ROW % (number, (CONTENT * (size // len(CONTENT) + 1))[: size - bare])


@dataclass(frozen=True)
class FileRange:
    """A range of a file: a stored object or a part of one."""

    file: Path
    start: int
    size: int

    @classmethod
    def of(cls, file: Path) -> "FileRange":
        """Return the range of a whole file."""
        return cls(file, 0, file.stat().st_size)


def _cut_range(parts: Sequence[FileRange], start: int, stop: int) -> Iterator[FileRange]:
    """Yield the file ranges of a byte range of an object."""
    for part in parts:
        low, high = max(start, 0), min(stop, part.size)
        if low < high:
            yield FileRange(part.file, part.start + low, high - low)
        start, stop = start - part.size, stop - part.size


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each small answer is delayed by 40 ms (delayed ACK)
    sizes: ClassVar[dict[str, int]] = {}
    row_bytes: ClassVar[int] = 2400
    folder: ClassVar[Path | None] = None
    delete_after_read: ClassVar[bool] = False
    stored: ClassVar[dict[str, list[FileRange]]] = {}
    counts: ClassVar[Counter[str]] = Counter()
    uploads: ClassVar[Iterator[int]] = count(1)
    inbound: ClassVar[Throttle] = Throttle()
    outbound: ClassVar[Throttle] = Throttle()

    def do_GET(self) -> None:
        """Return the requested range of a stored or generated object, or a page of a listing."""
        if self.path == COUNTS:
            return self._send_bytes(json.dumps(self.counts).encode())
        if "list-type" in self._query:
            return self._send_bytes(self._list_keys())
        parts = self._parts(self._object)
        if not parts and self._object not in self.sizes:
            return self._send_bytes(b"<Error><Code>NoSuchKey</Code></Error>", 404)
        total = sum(part.size for part in parts) or self.sizes.get(self._object, 0)
        range_match = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(range_match[1]) if range_match else 0
        stop = min(int(range_match[2]) + 1, total) if range_match and range_match[2] else total
        self.send_response(206 if range_match else 200)
        self.send_header("Content-Length", str(stop - start))
        self.send_header("ETag", '"made-up"')
        self.end_headers()
        self.counts["read"] += stop - start
        if parts:
            self._send_files([*_cut_range(parts, start, stop)])
            return self._delete_after_read(self._object, parts) if stop - start == total else None
        for block in _generate_rows(start, stop, self.row_bytes):
            self.outbound.wait(len(block))
            self.wfile.write(block)
        return None

    def _list_keys(self) -> bytes:
        """List a page of the stored keys of a bucket, in order."""
        query = self._query
        prefix = query.get("prefix", [""])[0]
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        bucket = self._object.rstrip("/") + "/"
        keys = sorted(
            key
            for key in (
                name.removeprefix(bucket) for name in [*self.stored] if name.startswith(bucket)
            )
            if key.startswith(prefix) and key > after
        )
        page, rest = keys[:PAGE_KEYS], keys[PAGE_KEYS:]
        contents = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in page)
        token = (
            f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if rest else ""
        )
        truncated = "true" if rest else "false"
        return (
            f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{token}{contents}</ListBucketResult>"
        ).encode()

    def _send_files(self, parts: Sequence[FileRange]) -> None:
        self.wfile.flush()
        for part in parts:
            with part.file.open("rb") as content:
                for offset in range(0, part.size, self.outbound.block):
                    size = min(self.outbound.block, part.size - offset)
                    self.outbound.wait(size)
                    self.connection.sendfile(content, part.start + offset, size)

    def _delete_after_read(self, name: str, parts: Sequence[FileRange]) -> None:
        """Delete a multipart object that was read or copied completely, if enabled."""
        if self.delete_after_read and len(parts) > 1:
            del self.stored[name]
            for part in parts:
                part.file.unlink(missing_ok=True)

    def do_HEAD(self) -> None:
        """Return whether the object is stored."""
        self.send_response(200 if self._parts(self._object) else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        """Store or discard a body; a copy only counts bytes and references the source."""
        length, query = int(self.headers.get("Content-Length", 0)), self._query
        part = f"{query.get('uploadId', [''])[0]}.{query.get('partNumber', ['0'])[0]}"
        range_match = re.match(
            r"bytes=(\d+)-(\d+)", self.headers.get("x-amz-copy-source-range", "")
        )
        if range_match:
            self._copy(part, int(range_match[1]), int(range_match[2]) + 1)
            return self._send_bytes(b"<CopyPartResult><ETag>e</ETag></CopyPartResult>")
        if self.folder is None or "tagging" in query:
            self._read_body(length, None)
        else:
            file = self.folder / (part if "uploadId" in query else f"put{next(self.uploads)}")
            self._read_body(length, file)
            self.stored[part if "uploadId" in query else self._object] = [FileRange.of(file)]
        if "tagging" not in query:
            self.counts["written"] += length
        return self._send_bytes(b"")

    def _copy(self, part: str, start: int, stop: int) -> None:
        self.counts["copied"] += stop - start
        source = "/" + unquote(self.headers["x-amz-copy-source"]).lstrip("/")
        parts = self._parts(source)
        if self.delete_after_read:
            self._delete_after_read(source, parts)
        else:
            self.stored[part] = [*_cut_range(parts, start, stop)]

    def _read_body(self, remaining: int, file: Path | None) -> None:
        """Read a body into a file, or discard it."""
        buffer = memoryview(bytearray(1 << 18))
        with (file or Path("/dev/null")).open("wb") as output:
            while remaining:
                received = self.rfile.readinto(buffer[: min(remaining, self.inbound.block)])
                if not received:
                    return
                self.inbound.wait(received)
                remaining -= output.write(buffer[:received])

    def do_POST(self) -> None:
        """Start or complete a multipart upload."""
        body, query = self.rfile.read(int(self.headers.get("Content-Length", 0))), self._query
        if "uploads" in query:
            kind, upload = "InitiateMultipartUploadResult", f"u{next(self.uploads)}"
        else:
            kind, upload = "CompleteMultipartUploadResult", query["uploadId"][0]
            numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)", body)]
            parts = [self.stored.pop(f"{upload}.{number}", []) for number in numbers]
            if self.folder is not None and any(parts):
                self.stored[self._object] = [file_range for part in parts for file_range in part]
        self._send_bytes(f"<{kind}><UploadId>{upload}</UploadId><ETag>e</ETag></{kind}>".encode())

    def _send_bytes(self, body: bytes, status: int = 200) -> None:
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

    def _parts(self, name: str) -> list[FileRange]:
        """Return the parts of an object, or an existing file."""
        parts = self.stored.get(name)
        if parts is None and self.folder is not None:
            existing = self.folder / name.strip("/")
            parts = [FileRange.of(existing)] if existing.is_file() else []
        return parts or []

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base's
        """Print errors, except that a client read only the front of an object."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _generate_rows(start: int, stop: int, row_bytes: int) -> Iterator[bytes]:
    """Generate the bytes of a range, 400 rows at a time."""
    offset = start
    while offset < stop:
        first = offset // row_bytes
        block = b"".join(row(number, row_bytes) for number in range(first, first + 400))
        block = block[offset - first * row_bytes :][: stop - offset]
        yield block
        offset += len(block)


@contextmanager
def serving(
    sizes: dict[str, int],
    folder: Path | None = None,
    *,
    delete_after_read: bool = False,
    mb_s: float = 0,
) -> Iterator[str]:
    """Serve generated objects by path (``/bucket/key``); yield the address.

    Args:
        sizes: the sizes of generated objects, in whole rows.
        folder: holds files by the same paths, and stores written objects; None discards them.
        delete_after_read: delete multipart objects once they have been read or copied, to save disk space.
        mb_s: megabytes per second each way; 0 for no limit.
    """
    _Handler.sizes, _Handler.folder, _Handler.delete_after_read = sizes, folder, delete_after_read
    _Handler.inbound, _Handler.outbound = Throttle(mb_s), Throttle(mb_s)
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def main() -> None:
    """Serve until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.s3", description=main.__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--sizes", type=json.loads, default={})
    parser.add_argument("--delete-after-read", action="store_true")
    parser.add_argument("--mb-s", type=float, default=0)
    options = parser.parse_args()
    with serving(
        options.sizes,
        options.folder,
        delete_after_read=options.delete_after_read,
        mb_s=options.mb_s,
    ) as url:
        print(url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
