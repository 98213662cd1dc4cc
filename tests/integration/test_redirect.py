"""The key goes to the API's own host alone, and nothing that is said elsewhere proves anything."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from functions.adapters.anthropic_api import Claude
from functions.errors import ApiUnavailableError
from functions.model.create_response import Ambiguous


class Elsewhere(BaseHTTPRequestHandler):
    """Sends everyone on to another path, and notes who came."""

    seen: list[str]

    def do_GET(self) -> None:
        credentials = self.headers.get("Proxy-Authorization")
        self.seen.append(f"{self.path} {credentials}" if credentials else self.path)
        self.send_response(307)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[tuple[int, list[str]]]:
    """Serve, over TLS if there is a certificate; gives the port, and what was asked for."""
    seen: list[str] = []
    handler = type("Handler", (Elsewhere,), {"seen": seen})
    with HTTPServer(("127.0.0.1", 0), handler) as made:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            made.socket = context.wrap_socket(made.socket, server_side=True)
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made.server_port, seen
        finally:
            made.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    with serving() as (port, seen):
        yield f"http://127.0.0.1:{port}", seen


def self_signed(file: Path) -> Path:
    """Write a key and a certificate for localhost that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, nothing = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(pem, form, nothing) + certificate.public_bytes(pem))
    return file


def door(url: str) -> Claude:
    return Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "sk-local")


def test_results_that_are_said_to_be_elsewhere_are_asked_for_later(
    server: tuple[str, list[str]],
) -> None:
    url, seen = server

    with pytest.raises(ApiUnavailableError, match="307"):
        list(door(url).results("msgbatch_1"))

    assert seen == ["/v1/messages/batches/msgbatch_1/results"]


@pytest.mark.parametrize("form", ["http://{}", "{}", "http://ours:p%40ss@{}"])
def test_results_come_by_the_proxy_that_is_set(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    url, seen = server
    monkeypatch.setenv("http_proxy", form.format(url.removeprefix("http://")))
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(ApiUnavailableError, match="307"):
        list(door("http://api.invalid").results("msgbatch_1"))

    credentials = " Basic b3VyczpwQHNz" if "@" in form else ""
    assert seen == [f"http://api.invalid/v1/messages/batches/msgbatch_1/results{credentials}"]


def test_results_are_asked_only_of_a_host_that_is_vouched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with serving(certificate) as (port, seen):
        url = f"https://localhost:{port}"

        with pytest.raises(ApiUnavailableError, match="SSLError"):
            list(door(url).results("msgbatch_1"))
        assert seen == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(ApiUnavailableError, match="307"):
            list(door(url).results("msgbatch_1"))
        assert seen == ["/v1/messages/batches/msgbatch_1/results"]


def test_a_listing_that_is_said_to_be_elsewhere_is_none(server: tuple[str, list[str]]) -> None:
    url, seen = server

    with pytest.raises(ApiUnavailableError, match="307"):
        door(url).listing(datetime(2026, 11, 1, tzinfo=UTC))

    assert seen == ["/v1/messages/batches?limit=1000"]


def test_a_create_that_is_sent_elsewhere_proves_nothing(server: tuple[str, list[str]]) -> None:
    url, seen = server
    body = b'{"requests":[]}'

    verdict = door(url).create([body], len(body), "2026-10-21")

    assert verdict == Ambiguous("status 307")
    assert seen == ["/v1/messages/batches"]
