"""A minimal fake of the Message Batches API: it reads bodies at full speed, and serves files.

The simulator parses requests, which would distort the measurement. Results are files ``<id>.jsonl`` in the folder.
With ``--answers`` a batch ends when it is created, and its results are generated from its custom_ids.

    python -m benchmarks.claude (--folder FOLDER --requests 100000 [--listed 1000] | --answers) [--mb-s 75]
"""

import argparse
import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import batched, count
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from benchmarks import workload
from benchmarks.s3 import COUNTS
from benchmarks.throttle import Throttle

PATH = "/v1/messages/batches"
_CUSTOM_ID = re.compile(rb'"custom_id": ?"([^"]+)"')


@dataclass
class _Sent:
    """A batch with its body, until its results are requested."""

    requests: int
    created_at: datetime
    body: bytearray


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each small answer is delayed by 40 ms (delayed ACK)
    folder: ClassVar[Path]
    requests: ClassVar[int]
    listed: ClassVar[int]
    answers: ClassVar[bool]
    mb_s: ClassVar[float]
    inbound: ClassVar[Throttle]
    outbound: ClassVar[Throttle]
    sent_batches: ClassVar[dict[str, _Sent]] = {}
    counts: ClassVar[Counter[str]] = Counter()
    batch_numbers: ClassVar[Any] = count(1)

    def do_POST(self) -> None:
        """Read the whole body of a batch."""
        self.counts["calls"] += 1
        size = self.counts["last"] = int(self.headers["Content-Length"])
        name = batch_id(next(self.batch_numbers))
        if self.answers:
            buffer = bytearray(size)
            self._read_body(memoryview(buffer), size)
            requests = buffer.count(b'"custom_id":')
            self.sent_batches[name] = _Sent(requests, datetime.now(UTC), buffer)
        else:
            self._read_body(memoryview(bytearray(1 << 20)), size)
        self._send_json(self._batch(name))

    def _read_body(self, buffer: memoryview, size: int) -> None:
        """Read a body into a buffer; a smaller buffer is overwritten repeatedly."""
        offset = 0
        while offset < size:
            start = offset % len(buffer)
            stop = min(len(buffer), start + min(size - offset, self.inbound.block))
            received = self.rfile.readinto(buffer[start:stop])
            self.inbound.wait(received)
            offset += received

    def do_PUT(self) -> None:
        """Accept a batch from a client that cannot send POST."""
        self.do_POST()

    def do_GET(self) -> None:
        """Return a batch, all batches, or results."""
        path = urlsplit(self.path).path
        if path == COUNTS:
            self._send_json(self.counts)
            return
        self.counts["calls"] += 1
        if path == PATH:
            names = [*self.sent_batches][::-1] or [batch_id(n) for n in range(self.listed, 0, -1)]
            rows = [self._batch(name, ended=self.answers) for name in names]
            self._send_json({"data": rows, "has_more": False, "first_id": None, "last_id": None})
        elif path.endswith("/results") and self.answers:
            self._send_generated_results(self.sent_batches[path.split("/")[-2]])
        elif path.endswith("/results"):
            self._send_results_file(self.folder / f"{path.split('/')[-2]}.jsonl")
        else:
            self._send_json(self._batch(path.rpartition("/")[2], ended=True))

    def _send_results_file(self, file: Path) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-jsonl")
        self.send_header("Content-Length", str(file.stat().st_size))
        self.end_headers()
        with file.open("rb") as content:
            self.wfile.flush()
            self.connection.sendfile(content)

    def _send_generated_results(self, batch: _Sent) -> None:
        """Generate the results of a batch once; then drop its body."""
        answers = workload.answers(_CUSTOM_ID.findall(batch.body))
        batch.body = bytearray()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-jsonl")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for lines in batched(answers, 100, strict=False):
            block = b"".join(lines)
            self.outbound.wait(len(block))
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
        self.wfile.write(b"0\r\n\r\n")

    def _batch(self, name: str, *, ended: bool = False) -> dict[str, Any]:
        batch = self.sent_batches.get(name)
        now = datetime.now(UTC) if batch is None else batch.created_at
        address = f"http://{self.headers['Host']}{PATH}/{name}"
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        counts["succeeded" if ended else "processing"] = batch.requests if batch else self.requests
        return {
            "id": name, "type": "message_batch", "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts, "created_at": now.isoformat(), "ended_at": now.isoformat() if ended else None,
            "expires_at": (now + timedelta(days=1)).isoformat(), "archived_at": None, "cancel_initiated_at": None,
            "results_url": f"{address}/results" if ended else None,
        }  # fmt: skip

    def _send_json(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def batch_id(number: int) -> str:
    """Return the id of the nth batch."""
    return f"msgbatch_{number:06}"


def main() -> None:
    """Serve until the process is terminated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claude", description=main.__doc__)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--listed", type=int, default=0)
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--mb-s", type=float, default=0)
    options = parser.parse_args(namespace=_Handler)
    _Handler.inbound, _Handler.outbound = Throttle(options.mb_s), Throttle(options.mb_s)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
