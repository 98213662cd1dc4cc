"""The folder ``.local`` of the clone, where the local cloud keeps its files."""

import json
import random
import socket
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError

LOOPBACK = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Systems give clients higher ports, so that one of these is still free when a program has started."""


@dataclass(frozen=True)
class Workspace:
    """The clone and its folder for the local cloud.

    Attributes:
        root: the root of the clone, with ``app.py`` and ``cdk.json``.
        folder: holds everything that the local cloud writes, except downloaded results.
    """

    root: Path
    folder: Path

    @classmethod
    def of_this_clone(cls) -> "Workspace":
        """Return the workspace of the clone that contains this file."""
        root = Path(__file__).resolve().parent.parent
        return cls(root=root, folder=root / ".local")

    def port(self, name: str, *, must_be_free: bool = False) -> int:
        """Return the port of ``name``; choose it on first use and save it.

        The address is part of the deployed stack, so another port would need another deploy.

        Args:
            name: the program that listens there.
            must_be_free: choose another port if something listens on this one.
        """
        ports = self._read_ports()
        if name not in ports or (must_be_free and port_in_use(ports[name])):
            ports[name] = free_port()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._ports_file.write_text(json.dumps(ports), encoding="utf-8")
        return ports[name]

    def _read_ports(self) -> dict[str, int]:
        try:
            return dict(json.loads(self._ports_file.read_bytes()))
        except (OSError, ValueError):
            return {}

    @property
    def _ports_file(self) -> Path:
        return self.folder / "ports.json"


def free_port() -> int:
    """Return a free loopback port.

    Raises:
        LocalError: none is free.
    """
    for port in random.sample(PORTS, len(PORTS)):
        with closing(socket.socket()) as listener, suppress(OSError):
            listener.bind((LOOPBACK, port))
            return port
    message = f"no port from {PORTS.start} to {PORTS.stop - 1} is free: stop a program"
    raise LocalError(message)


def port_in_use(port: int) -> bool:
    """Return whether something listens on this loopback port."""
    with closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex((LOOPBACK, port)) == 0
