"""Throttle the fakes: loopback is faster than the network of a Lambda function."""

import threading
import time


class Throttle:
    """Limits the bytes per second over all senders.

    Args:
        mb_s: megabytes a second; 0 for as fast as it goes.
    """

    BLOCK = 1 << 18
    """Bytes sent at once: 3.5 ms at 75 MB/s."""

    def __init__(self, mb_s: float = 0) -> None:
        self._s_per_byte = 1 / (mb_s * 1e6) if mb_s else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()

    @property
    def block(self) -> int:
        """The number of bytes to send at once."""
        return self.BLOCK if self._s_per_byte else 1 << 30

    def wait(self, size: int) -> None:
        """Wait until this many bytes may pass."""
        if not self._s_per_byte:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size * self._s_per_byte
            until = self._free_at
        time.sleep(max(0.0, until - time.monotonic()))
