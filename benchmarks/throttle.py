"""A wire of a given speed, for far ends: loopback is faster than any network that a Lambda has."""

import threading
import time


class Throttle:
    """Lets so many bytes a second pass, whoever sends them.

    Args:
        mb_s: megabytes a second; 0 for as fast as it goes.
    """

    BLOCK = 1 << 18
    """What passes at once, in bytes: at 75 MB/s, 3.5 ms of it."""

    def __init__(self, mb_s: float = 0) -> None:
        self._s_per_byte = 1 / (mb_s * 1e6) if mb_s else 0.0
        self._free_at = 0.0
        self._lock = threading.Lock()

    @property
    def block(self) -> int:
        """How many bytes to send at once."""
        return self.BLOCK if self._s_per_byte else 1 << 30

    def wait(self, size: int) -> None:
        """Wait until so many bytes have passed."""
        if not self._s_per_byte:
            return
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + size * self._s_per_byte
            until = self._free_at
        time.sleep(max(0.0, until - time.monotonic()))
