"""The far end of the Message Batches API, with nothing behind it: it takes bodies as fast as they come, and serves files.

The simulator parses what it is sent; here that would be what is measured. Results lie in the folder as ``<id>.jsonl``.

    python -m benchmarks.claude FOLDER --requests 100000 [--listed 1000]
"""

import argparse
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks.s3 import COUNTS

PATH = "/v1/messages/batches"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each small answer waits 40 ms for the other side's kernel
    folder: ClassVar[Path]
    requests: ClassVar[int]
    listed: ClassVar[int]
    counts: ClassVar[Counter[str]] = Counter()
    made: ClassVar[Any] = count(1)

    def do_POST(self) -> None:
        """Take a batch, to its last byte."""
        self.counts["calls"] += 1
        left, room = int(self.headers["Content-Length"]), bytearray(1 << 20)
        self.counts["last"] = left
        while left:
            left -= self.rfile.readinto(memoryview(room)[: min(left, len(room))])
        self._answer(self._batch(batch_id(next(self.made))))

    def do_PUT(self) -> None:
        """Take a batch from whoever cannot say POST."""
        self.do_POST()

    def do_GET(self) -> None:
        """Show a batch, all batches, or results."""
        path = urlsplit(self.path).path
        if path == COUNTS:
            self._answer(self.counts)
            return
        self.counts["calls"] += 1
        if path == PATH:
            rows = [self._batch(batch_id(number)) for number in range(self.listed, 0, -1)]
            self._answer({"data": rows, "has_more": False, "first_id": None, "last_id": None})
        elif path.endswith("/results"):
            self._results(self.folder / f"{path.split('/')[-2]}.jsonl")
        else:
            self._answer(self._batch(path.rpartition("/")[2], ended=True))

    def _results(self, file: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-jsonl")
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        with file.open("rb") as content:
            self.wfile.flush()
            self.connection.sendfile(content)

    def _batch(self, name: str, *, ended: bool = False) -> dict[str, Any]:
        now = datetime.now(UTC)
        address = f"http://{self.headers['Host']}{PATH}/{name}"
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        counts["succeeded" if ended else "processing"] = self.requests
        return {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts, "created_at": now.isoformat(), "ended_at": now.isoformat() if ended else None,
            "expires_at": (now + timedelta(days=1)).isoformat(), "archived_at": None, "cancel_initiated_at": None,
            "results_url": f"{address}/results" if ended else None,
        }  # fmt: skip

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def batch_id(number: int) -> str:
    """Name the batch that is made as the nth."""
    return f"msgbatch_{number:06}"


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claude", description=main.__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--listed", type=int, default=0)
    parser.parse_args(namespace=_Handler)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
