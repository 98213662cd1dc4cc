"""Where the local cloud keeps what is its own: the folder ``.local`` of the clone."""

import json
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Workspace:
    """The clone, and the folder in it that is ours to fill and to empty.

    Attributes:
        root: the clone, where ``app.py`` and ``cdk.json`` lie.
        folder: everything that the local cloud writes, but for downloaded results.
    """

    root: Path
    folder: Path

    @classmethod
    def of_this_clone(cls) -> "Workspace":
        """Give the home of the clone that this file is part of."""
        root = Path(__file__).resolve().parent.parent
        return cls(root=root, folder=root / ".local")

    def port(self, name: str, *, must_be_free: bool = False) -> int:
        """Give the port that is kept for ``name``.

        It is kept because addresses end up in what is synthesized: another port, another synth.

        Args:
            name: of the program that listens there.
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
    """Give a loopback port that nobody listens on now."""
    with closing(socket.socket()) as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def port_in_use(port: int) -> bool:
    """Tell whether something listens on this loopback port."""
    with closing(socket.socket()) as client:
        client.settimeout(1)
        return client.connect_ex((LOOPBACK, port)) == 0
