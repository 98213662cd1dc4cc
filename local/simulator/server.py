"""The HTTP server: reads calls, writes replies, and closes connections as faults require."""

import socket
import struct
import sys
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from local.simulator import control
from local.simulator.api import Api
from local.simulator.errors import ApiError
from local.simulator.http import Body, Call, HangUpError, Reply, json_reply
from local.simulator.simulator import Simulator

# How often the server checks whether to stop.
_STOP_POLL_S = 0.01


class Server(ThreadingHTTPServer):
    """Serves one simulator on 127.0.0.1.

    Args:
        simulator: the simulator to serve.
        port: 0 for any free port.

    Raises:
        OSError: the port is in use.
    """

    daemon_threads = False  # closing waits for them
    request_queue_size = 128

    def __init__(self, simulator: Simulator, port: int) -> None:
        self.simulator = simulator
        self.api = Api(simulator)
        self.stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self._to_reset: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        simulator.url = self.url

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept and track a connection."""
        connection, address = super().get_request()
        with self._open_lock:
            self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Close a connection and stop tracking it."""
        with self._open_lock:
            self._open.discard(request)
        if request in self._to_reset:
            self._to_reset.discard(request)
            self.close_request(request)  # without the FIN of shutdown_request
        else:
            super().shutdown_request(request)

    def reset(self, connection: socket.socket) -> None:
        """Make the connection close with an RST: SO_LINGER with timeout 0."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._to_reset.add(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Ignore disconnected clients."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close all connections and wait for their threads."""
        self.stopping.set()
        self.shutdown()
        with self._open_lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


def answer(api: Api, call: Call, request_id: str) -> Reply:
    """Answer a call of the API; errors have the API's shape.

    Raises:
        HangUpError: the connection closes without an answer.
    """
    try:
        return api.reply(call)
    except ApiError as error:
        return error_reply(error, request_id)


def error_reply(error: ApiError, request_id: str) -> Reply:
    """Build the API's error answer."""
    body = {"type": "error", "error": error.error, "request_id": request_id}
    reply = json_reply(body, error.status)
    reply.headers.update(error.headers)
    return reply


@contextmanager
def serving(simulator: Simulator, port: int = 0) -> Iterator[str]:
    """Serve the simulator on 127.0.0.1 within the context.

    Args:
        simulator: the simulator to serve.
        port: 0 for any free port.

    Yields:
        the base URL, ``http://127.0.0.1:PORT``.
    """
    server = Server(simulator, port)
    thread = threading.Thread(target=server.serve_forever, args=(_STOP_POLL_S,), name="simulator")
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 18

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Handle every HTTP method with `_serve`; the base class looks up ``do_GET`` etc."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the base
        """Log nothing: the simulator counts calls."""

    def finish(self) -> None:
        """Close the connection's files. The base class leaves one open if the client is gone before all is sent."""
        try:
            super().finish()
        finally:
            self.rfile.close()

    def _serve(self) -> None:
        server = cast("Server", self.server)
        url = urlsplit(self.path)
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        call = Call(self.command, url.path, parse_qsl(url.query), headers, body)
        request_id = f"req_{uuid.uuid4().hex[:24]}"
        try:
            reply = self._reply(server, call, request_id)
        except HangUpError as hang_up:
            self._hang_up(reset=hang_up.reset)
            return
        if reply.delay_s:
            server.stopping.wait(reply.delay_s)
        reply.headers["request-id"] = request_id
        if not body.consumed:
            # Closing with an unread body would reset the connection, and a client that is still
            # sending would not see the error.
            with suppress(HangUpError):
                deque(body.blocks(), maxlen=0)
        self._write(reply)

    def _body(self) -> Body:
        chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length", "0")
        return Body(self.rfile, int(length) if length.isdecimal() else 0, chunked=chunked)

    def _reply(self, server: Server, call: Call, request_id: str) -> Reply:
        try:
            if call.path.startswith(control.PREFIX):
                return control.reply(server.simulator, call)
        except ApiError as error:
            return error_reply(error, request_id)
        return answer(server.api, call, request_id)

    def _write(self, reply: Reply) -> None:
        length = len(reply.content) if isinstance(reply.content, bytes) else reply.length
        framing = {
            "length": ("content-length", str(length)),
            "chunked": ("transfer-encoding", "chunked"),
            "close": ("connection", "close"),
        }[reply.framing]
        self.send_response(reply.status)
        for name, value in (("content-type", reply.kind), framing, *reply.headers.items()):
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            pass  # a body would be read as the next answer
        elif isinstance(reply.content, bytes):
            self.wfile.write(reply.content)
        else:
            self._stream(reply.content, reply)
        self.wfile.flush()
        self.close_connection = self.close_connection or reply.cut or reply.framing == "close"

    def _stream(self, blocks: Iterator[bytes], reply: Reply) -> None:
        chunked = reply.framing == "chunked"
        for block in blocks:
            self.wfile.write(_chunk(block) if chunked else block)
        if chunked and not reply.cut:
            self.wfile.write(_chunk(b""))

    def _hang_up(self, *, reset: bool) -> None:
        self.close_connection = True
        if reset:
            cast("Server", self.server).reset(self.connection)


def _chunk(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)
