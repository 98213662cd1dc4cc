"""Measure time and memory of the simulator for a batch of 100,000 requests.

The client is minimal: it uploads a file and reads the results in blocks.

    python benchmarks/simulator.py [--requests 100000] [--megabytes 250]
"""

import argparse
import http.client
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
HEADERS = {"x-api-key": "sk-local", "anthropic-version": "2026-10-21"}
BATCHES = "/v1/messages/batches"


class _Batch(msgspec.Struct):
    id: str
    request_counts: dict[str, int]


def main() -> None:
    """Measure, and print a line for each call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--megabytes", type=int, default=250)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _simulator(Path(name)) as (port, pid):
        body = Path(name) / "body.json"
        _write(body, options.requests, options.megabytes * 1_000_000)
        _print_line("start", 0.0, pid)
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        with _peak(pid):
            batch = _create(client, body, pid)
        _timed("retrieve", client, f"{BATCHES}/{batch.id}", pid)
        with _peak(pid):
            lines = _timed("results", client, f"{BATCHES}/{batch.id}/results", pid)
        client.close()
        print(f"{batch.request_counts['processing']} requests in, {lines} lines out")


@contextmanager
def _simulator(folder: Path) -> Iterator[tuple[int, int]]:
    command = [sys.executable, "-m", "local.simulator", "--processing-seconds", "0"]
    command += ["--fates", "expired=0.03,overloaded_error=0.03,invalid_request_error=0.02"]
    with subprocess.Popen(
        [*command, "--folder", str(folder / "simulator")], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        try:
            url = process.stdout.readline() if process.stdout else b""
            yield int(url.rpartition(b":")[2]), process.pid
        finally:
            process.terminate()


def _write(file: Path, requests: int, size_bytes: int) -> None:
    text = "x" * (size_bytes // requests - 150)
    with file.open("w") as body:
        body.write('{"requests":[')
        for row in range(requests):
            body.write("," if row else "")
            body.write(
                f'{{"custom_id":"{row:020}","params":{{"model":"claude-haiku-5-5","max_tokens":64,'
                f'"messages":[{{"role":"user","content":"{row:09} {text}"}}]}}}}'
            )
        body.write("]}")


def _create(client: http.client.HTTPConnection, body: Path, pid: int) -> _Batch:
    started = time.perf_counter()
    with body.open("rb") as file:
        length = {"content-length": str(body.stat().st_size)}
        client.request("POST", BATCHES, file, {**HEADERS, **length})
        answer = client.getresponse().read()
    _print_line(f"create ({body.stat().st_size / 1e6:.0f} MB)", time.perf_counter() - started, pid)
    return msgspec.json.decode(answer, type=_Batch)


def _timed(name: str, client: http.client.HTTPConnection, path: str, pid: int) -> int:
    started = time.perf_counter()
    client.request("GET", path, headers=HEADERS)
    answer, lines = client.getresponse(), 0
    while block := answer.read(1 << 20):
        lines += block.count(b"\n")
    _print_line(name, time.perf_counter() - started, pid)
    return lines


def _print_line(name: str, took_s: float, pid: int) -> None:
    private, mapped = _memory_mib(pid)
    print(f"{name:18} {took_s:6.2f} s   own {private:4} MiB   mapped files {mapped:4} MiB")


def _memory_mib(pid: int) -> tuple[int, int]:
    """Return the private memory and the mapped files of the process in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    report = dict(re.findall(r"(RssAnon|RssFile):\s+(\d+)", status))
    return int(report["RssAnon"]) // 1024, int(report["RssFile"]) // 1024


@contextmanager
def _peak(pid: int) -> Iterator[None]:
    """Print the peak of both within the context, sampled every 10 ms."""
    done, samples = threading.Event(), [_memory_mib(pid)]

    def sample() -> None:
        while not done.wait(0.01):
            samples.append(_memory_mib(pid))

    thread = threading.Thread(target=sample)
    thread.start()
    yield
    done.set()
    thread.join()
    private, mapped = (max(column) for column in zip(*samples, strict=True))
    print(f"{'  peak':27}   own {private:4} MiB   mapped files {mapped:4} MiB")


if __name__ == "__main__":
    main()
