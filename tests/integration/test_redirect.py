"""The key is only sent to the API's own host, and no other host's answer counts."""

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


class RedirectHandler(BaseHTTPRequestHandler):
    """Redirect every request, and record its path."""

    requests_seen: list[str]

    def do_GET(self) -> None:
        credentials = self.headers.get("Proxy-Authorization")
        self.requests_seen.append(f"{self.path} {credentials}" if credentials else self.path)
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
def serve_redirects(certificate: Path | None = None) -> Iterator[tuple[int, list[str]]]:
    """Serve redirects, over TLS with a certificate; yield the port and the requested paths."""
    requests_seen: list[str] = []
    handler = type("Handler", (RedirectHandler,), {"requests_seen": requests_seen})
    with HTTPServer(("127.0.0.1", 0), handler) as server_:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server_.socket = context.wrap_socket(server_.socket, server_side=True)
        thread = threading.Thread(target=server_.serve_forever)
        thread.start()
        try:
            yield server_.server_port, requests_seen
        finally:
            server_.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    with serve_redirects() as (port, requests_seen):
        yield f"http://127.0.0.1:{port}", requests_seen


def self_signed(file: Path) -> Path:
    """Write a key and a self-signed certificate for localhost."""
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
    proxy_format, no_encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(pem, proxy_format, no_encryption) + certificate.public_bytes(pem)
    )
    return file


def open_claude(url: str) -> Claude:
    return Claude(base_url=url, api_version="2023-06-01", read_key=lambda _fresh: "sk-local")


def test_a_redirected_download_is_not_followed(
    server: tuple[str, list[str]],
) -> None:
    url, requests_seen = server

    with pytest.raises(ApiUnavailableError, match="307"):
        list(open_claude(url).results("msgbatch_1"))

    assert requests_seen == ["/v1/messages/batches/msgbatch_1/results"]


@pytest.mark.parametrize("proxy_format", ["http://{}", "{}", "http://ours:p%40ss@{}"])
def test_results_are_downloaded_through_the_configured_proxy(
    server: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch, proxy_format: str
) -> None:
    url, requests_seen = server
    monkeypatch.setenv("http_proxy", proxy_format.format(url.removeprefix("http://")))
    monkeypatch.setenv("no_proxy", "")

    with pytest.raises(ApiUnavailableError, match="307"):
        list(open_claude("http://api.invalid").results("msgbatch_1"))

    credentials = " Basic b3VyczpwQHNz" if "@" in proxy_format else ""
    assert requests_seen == [
        f"http://api.invalid/v1/messages/batches/msgbatch_1/results{credentials}"
    ]


def test_results_are_only_downloaded_from_a_host_with_a_trusted_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path / "own.pem")
    with serve_redirects(certificate) as (port, requests_seen):
        url = f"https://localhost:{port}"

        with pytest.raises(ApiUnavailableError, match="SSLError"):
            list(open_claude(url).results("msgbatch_1"))
        assert requests_seen == []

        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with pytest.raises(ApiUnavailableError, match="307"):
            list(open_claude(url).results("msgbatch_1"))
        assert requests_seen == ["/v1/messages/batches/msgbatch_1/results"]


def test_a_redirected_listing_is_not_followed(server: tuple[str, list[str]]) -> None:
    url, requests_seen = server

    with pytest.raises(ApiUnavailableError, match="307"):
        open_claude(url).list_batches(datetime(2026, 11, 1, tzinfo=UTC))

    assert requests_seen == ["/v1/messages/batches?limit=1000"]


def test_a_redirected_create_is_ambiguous(server: tuple[str, list[str]]) -> None:
    url, requests_seen = server
    body = b'{"requests":[]}'

    verdict = open_claude(url).create([body], len(body), "2026-10-21")

    assert verdict == Ambiguous("status 307")
    assert requests_seen == ["/v1/messages/batches"]
