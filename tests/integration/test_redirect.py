"""The key goes to the API's own host alone."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from functions.batches.claude import Claude
from functions.batches.errors import ClaudeUnavailableError


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everyone on to another path, and notes who came."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.path)
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

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


def test_results_that_are_said_to_be_elsewhere_are_asked_for_later(
    server: tuple[str, list[str]],
) -> None:
    url, seen = server
    claude = Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "sk-local")

    with pytest.raises(ClaudeUnavailableError, match="307"):
        list(claude.results("msgbatch_1"))

    assert seen == ["/v1/messages/batches/msgbatch_1/results"]
