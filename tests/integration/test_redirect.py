"""The key goes to the API's own host alone, and nothing that is said elsewhere proves anything."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from functions.batches.claude import Claude
from functions.batches.errors import ClaudeUnavailableError
from functions.batches.verdicts import Unknown


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everyone on to another path, and notes who came."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    handler = type("Handler", (Elsewhere,), {"seen": seen})
    with HTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", seen
        made.shutdown()
        thread.join()


def door(url: str) -> Claude:
    return Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "sk-local")


def test_results_that_are_said_to_be_elsewhere_are_asked_for_later(
    server: tuple[str, list[str]],
) -> None:
    url, seen = server

    with pytest.raises(ClaudeUnavailableError, match="307"):
        list(door(url).results("msgbatch_1"))

    assert seen == ["/v1/messages/batches/msgbatch_1/results"]


def test_a_listing_that_is_said_to_be_elsewhere_is_none(server: tuple[str, list[str]]) -> None:
    url, seen = server

    with pytest.raises(ClaudeUnavailableError, match="307"):
        door(url).listing(datetime(2026, 11, 1, tzinfo=UTC))

    assert seen == ["/v1/messages/batches?limit=1000"]


def test_a_create_that_is_sent_elsewhere_proves_nothing(server: tuple[str, list[str]]) -> None:
    url, seen = server
    body = b'{"requests":[]}'

    verdict = door(url).create([body], len(body), "2026-10-21")

    assert verdict == Unknown("status 307")
    assert seen == ["/v1/messages/batches"]
